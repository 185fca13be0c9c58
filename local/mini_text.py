"""Sentences of the mini corpus: a small grammar of dates, times, places, numbers, home and travel commands.

A sentence is a string of words with single spaces, as AISHELL's transcripts separate them. `{name}` in a
template stands for one phrase of the slot `name`; numbers are written as they are read.
"""

import random
import re
from collections.abc import Callable, Iterable


def _each(phrases: str) -> tuple[str, ...]:
    """Phrases of one word, listed with spaces between them."""
    return tuple(phrases.split())


DIGITS = "零一二三四五六七八九"
SLOTS: dict[str, tuple[str, ...]] = {
    "city": _each("北京 上海 广州 深圳 南京 西安 重庆 天津 长沙 青岛 海口"),
    "place": _each("火车站 机场 医院 学校 图书馆 公园 超市 银行 酒店 公司"),
    "room": _each("客厅 卧室 厨房 书房 会议室 办公室"),
    "device": _each("灯 空调 电视 风扇 音箱 热水器 电脑"),
    "who": ("妈妈", "爸爸", "哥哥", "姐姐", "弟弟", "妹妹", "王 老师", "李 经理", "张 医生", "我", "他们"),
    "day": ("今天", "明天", "后天", "{weekday}", "下 {weekday}", "{month} {date}"),
    "weekday": _each("星期一 星期二 星期三 星期四 星期五 星期六 星期天"),
    "part": _each("早上 上午 中午 下午 晚上"),
    "time": ("{hour} 点", "{hour} 点 半", "{hour} 点 一刻", "{hour} 点 {minute} 分", "{part} {hour} 点"),
    "hour": _each("一 两 三 四 五 六 七 八 九 十 十一 十二"),
    "vehicle": _each("火车 飞机 地铁 出租车 高铁 公交车"),
    "ticket": ("火车票", "机票", "电影票", "门票", "高铁票"),
    "errand": ("开会", "吃饭", "上课", "看病", "买 书", "跑步", "看 电影", "买 票", "接 妈妈", "休息"),
    "sky": ("下雨", "下雪", "有 大风", "晴天", "多云"),
    "programme": ("音乐", "新闻", "老歌", "广播"),
    "count": _each("一 两 三 四 五 六 七 八 九 十"),
    "side": _each("前面 后面 左边 右边 对面 旁边"),
}
TEMPLATES = (
    "打开 {room} 的 {device}",
    "请 关闭 {room} 的 {device}",
    "把 {room} 的 {device} 关上",
    "帮 我 把 {device} 打开 好 吗",
    "{time} 打开 {room} 的 {device}",
    "{room} 的 空调 调到 {degree} 度",
    "{part} 把 空调 调到 {degree} 度",
    "{room} 现在 是 多少 度",
    "音量 调到 百分之 {percent}",
    "电视 换到 第 {count} 频道",
    "把 {room} 的 灯 调 高 一点",
    "{device} 再 开 {minute} 分钟",
    "{time} 播放 {programme}",
    "我 想 在 {room} 听 {programme}",
    "{day} {time} 叫 我 起床",
    "提醒 {who} {day} {time} {errand}",
    "{day} {part} {who} 要 去 {errand}",
    "{who} {day} {time} 在 {place} 等 我",
    "会议 改 到 {day} {time}",
    "今天 是 {month} {date} {weekday}",
    "{year} {month} 我 在 {city} 工作",
    "{who} 是 {year} {month} 出生 的",
    "离 {month} {date} 还有 {percent} 天",
    "现在 的 时间 是 {time}",
    "给 {who} 打 电话",
    "{who} 的 电话 是 {phone}",
    "房间 号码 是 {code}",
    "密码 是 {code} 请 记住",
    "{number} 加 {number} 等于 多少",
    "{number} 减 {percent} 是 多少",
    "一共 {number} 元 {percent} 分",
    "这个 {device} 卖 {number} 块 钱",
    "我 要 买 {count} 张 {day} 的 {ticket}",
    "买 {count} 张 去 {city} 的 {ticket}",
    "{day} 从 {city} 到 {city} 的 {vehicle} 几 点 出发",
    "我们 {day} 坐 {vehicle} 去 {city}",
    "{vehicle} {time} 到 {city}",
    "导航 去 {city} {place}",
    "去 {place} 的 路 上 要 {minute} 分钟",
    "从 {place} 到 {place} 怎么 走",
    "{place} 在 {place} 的 {side}",
    "前方 {number} 米 {turn}",
    "{city} 离 {city} 有 {number} 公里",
    "订 {count} 间 {city} 的 酒店",
    "{who} 住 在 {city} 的 {place} {side}",
    "{city} {day} 会 {sky} 吗",
    "{city} {day} {sky} 最高 气温 {degree} 度",
    "天气 预报 说 {day} {city} {sky}",
    "{day} {part} {city} 的 气温 是 零下 {count} 度",
    "{place} {time} 开门 {time} 关门",
    "这 是 第 {percent} 课 共 {number} 个 字",
    "{who} 今年 {percent} 岁 了",
    "谢谢 {who} {day} 见",
)
EXTRA_SLOTS = {"turn": ("左转", "右转")}


def small_number(value: int) -> str:
    """0 to 99 as one word: 二十五."""
    tens, ones = divmod(value, 10)
    if tens == 0:
        return DIGITS[ones]
    return ("" if tens == 1 else DIGITS[tens]) + "十" + (DIGITS[ones] if ones else "")


def number(value: int) -> str:
    """0 to 9,999 as it is read: 两 千 零 五, 三 百 一十二."""
    if not 0 <= value < 10_000:
        raise ValueError(f"{value}: this grammar counts from 0 to 9999")
    words, gap = [], False
    for unit, name in ((1000, "千"), (100, "百")):
        digit, value = divmod(value, unit)
        if digit:
            words += ["零"] * gap + ["两" if digit == 2 else DIGITS[digit], name]
            gap = False
        elif words:
            gap = True
    if value:
        if words and (gap or value < 10):
            words.append("零")
        words.append("一" * (bool(words) and 10 <= value < 20) + small_number(value))
    return " ".join(words) or "零"


def spelled(digits: str) -> str:
    """Digits one by one; 1 is 幺, as in telephone numbers."""
    return " ".join("幺" if digit == "1" else DIGITS[int(digit)] for digit in digits)


# Slots that are too many to list: a function of a random generator.
DRAWN: dict[str, Callable[[random.Random], str]] = {
    "minute": lambda rng: small_number(rng.randrange(5, 60)),
    "degree": lambda rng: small_number(rng.randrange(16, 39)),
    "percent": lambda rng: small_number(rng.randrange(1, 100)),
    "number": lambda rng: number(rng.randrange(100, 10_000 if rng.random() < 0.4 else 1000)),
    "month": lambda rng: f"{small_number(rng.randrange(1, 13))} 月",
    "date": lambda rng: f"{small_number(rng.randrange(1, 32))} 号",
    "year": lambda rng: spelled(f"{rng.choice((19, 20))}{rng.randrange(100):02d}").replace("幺", "一") + " 年",
    "phone": lambda rng: spelled(f"1{rng.choice('3578')}{rng.randrange(10**5):05d}"),
    "code": lambda rng: spelled(f"{rng.randrange(10**4):04d}"),
}


def sentence(rng: random.Random) -> str:
    """One sentence, words separated by single spaces. No slot value occurs twice in it."""
    text, used = rng.choice(TEMPLATES), set()
    while slot := re.search(r"{(\w+)}", text):
        name = slot[1]
        phrase = DRAWN[name](rng) if name in DRAWN else rng.choice((SLOTS | EXTRA_SLOTS)[name])
        if (name, phrase) in used:
            continue
        used.add((name, phrase))
        text = text[: slot.start()] + phrase + text[slot.end() :]
    return text


def sentences(sizes: dict[str, int], seed: int) -> dict[str, list[str]]:
    """Distinct sentences of each split, none in two splits; the first split's cover every word of the others.

    Raises ValueError when the grammar has not that many.
    """
    result: dict[str, list[str]] = {}
    seen: set[str] = set()
    known: set[str] | None = None
    for split, size in sizes.items():
        rng, chosen, tries = random.Random(f"{seed} sentences {split}"), [], 0
        while len(chosen) < size:
            text, tries = sentence(rng), tries + 1
            if tries > 1000 + 100 * size:
                raise ValueError(f"{split}: the grammar has no {size} sentences more; ask for fewer")
            if text not in seen and (known is None or known.issuperset(text.split())):
                chosen.append(text)
                seen.add(text)
        known = known or {word for text in chosen for word in text.split()}
        result[split] = chosen
    return result


def vocabulary() -> list[str]:
    """Every word that the grammar can produce, sorted."""
    phrases: list[str] = [*TEMPLATES, *(small_number(value) for value in range(100))]
    phrases += ["百 千 两 幺 月 号 年", *(f"一{small_number(value)}" for value in range(10, 20))]  # 一 百 一十二
    for values in (*SLOTS.values(), *EXTRA_SLOTS.values()):
        phrases += values
    return sorted(set(_words(phrases)))


def _words(phrases: Iterable[str]) -> Iterable[str]:
    return (word for phrase in phrases for word in phrase.split() if not word.startswith("{"))
