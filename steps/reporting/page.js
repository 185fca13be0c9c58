// Joins each spectrogram with its player: a cursor that moves along, and a click that goes there.
const sounds = [...document.querySelectorAll(".sound")];
for (const sound of sounds) {
  const audio = sound.querySelector("audio");
  const view = sound.querySelector(".view");
  const cursor = sound.querySelector(".cursor");
  const draw = () => {
    cursor.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    if (!audio.paused) requestAnimationFrame(draw);
  };
  view.addEventListener("click", (event) => {
    const box = view.getBoundingClientRect();
    audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || 0);
    audio.play().catch(() => sound.classList.add("touched")); // refused without a gesture: the cursor still moves
  });
  audio.addEventListener("play", () => {
    sound.classList.add("touched");
    for (const other of sounds) if (other !== sound) other.querySelector("audio").pause();
    draw();
  });
  audio.addEventListener("seeked", draw);
}
