"""Impulse responses of rooms with four walls, floor and ceiling, for augmentation.

The image method of J. B. Allen and D. A. Berkley (Image method for efficiently simulating small-room acoustics, J.
Acoust. Soc. Am. 65(4), 1979): the sound that comes back from the walls is that of mirror images of the source.
"""

import math
import random
from dataclasses import dataclass

import numpy as np

from local.mini_channel import channel
from local.mini_room import SAMPLING_RATE

SPEED = 343.0  # metres a second, of sound
LEAD = 0.001  # seconds before the direct sound
WALL_GAP = 0.4  # metres between a wall and source or microphone
LOWEST = 60.0  # Hz
Point = tuple[float, float, float]  # metres


@dataclass(frozen=True)
class Room:
    """A rectangular room with a source and a microphone in it."""

    id: str
    size: Point
    source: Point
    microphone: Point
    t60: float  # seconds, by Eyring's formula; what is measured is up to a third longer in so regular a room


def make_rooms(count: int, seed: int) -> list[Room]:
    """Rooms from a closet to a hall, 0.5 to 2 m between source and microphone; each is keyed by (seed, id)."""
    return [_room(f"room_{number:03d}", seed) for number in range(count)]


def _room(id: str, seed: int) -> Room:
    rng = random.Random(f"{seed} {id}")
    large = rng.random()
    size = tuple(
        round(least + large * more * rng.uniform(0.7, 1.0), 3) for least, more in ((2.5, 7), (2.2, 5), (2.4, 1.6))
    )
    t60 = round(0.12 + 0.3 * large + rng.uniform(0.0, 0.12), 3)
    while True:
        source, microphone = (
            tuple(round(rng.uniform(WALL_GAP, side - WALL_GAP), 3) for side in size) for _ in range(2)
        )
        if 0.5 <= math.dist(source, microphone) <= 2.0:
            return Room(id, size, source, microphone, t60)


def response(room: Room) -> np.ndarray:
    """The impulse response (T,) at 16 kHz, peak 0.9, from 1 ms before the direct sound on.

    All walls reflect alike, as much as Eyring's formula asks for the T60. An image's sound arrives at the nearest
    sample, and is the weaker the longer its way. All being of one sign, they add up to a rumble, which is taken out.
    """
    length = int(1.5 * room.t60 * SAMPLING_RATE)
    axes = [
        _images(*axis, SPEED * 1.5 * room.t60) for axis in zip(room.size, room.source, room.microphone, strict=True)
    ]
    (x, nx), (y, ny), (z, nz) = axes
    square = x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2
    walls = nx[:, None, None] + ny[None, :, None] + nz[None, None, :]
    way = np.maximum(np.sqrt(square), 0.1)
    sample = np.rint((way - way.min()) / SPEED * SAMPLING_RATE).astype(int) + int(LEAD * SAMPLING_RATE)
    heard = sample < length
    strength = reflection(room) ** walls[heard] / way[heard]
    result = channel(np.bincount(sample[heard], weights=strength, minlength=length), LOWEST, SAMPLING_RATE)
    return result * (0.9 / np.abs(result).max())


def reflection(room: Room) -> float:
    """The share of a sound's pressure that a wall sends back, by Eyring: T60 = 0.161 V / (-S ln(1 - absorption))."""
    x, y, z = room.size
    surface = 2 * (x * y + x * z + y * z)
    return float(np.exp(-0.5 * 0.161 * x * y * z / (surface * room.t60)))


def _images(size: float, source: float, microphone: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: offsets of the images from the microphone, up to `reach` metres, and walls that each met."""
    most = int(reach / (2 * size)) + 1
    cell = np.arange(-most, most + 1)
    offsets = np.concatenate([2 * cell * size + source, 2 * cell * size - source]) - microphone
    return offsets, np.concatenate([np.abs(2 * cell), np.abs(2 * cell - 1)])
