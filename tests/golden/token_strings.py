# SPDX-License-Identifier: MIT
"""The text that small tokenizers are trained on, and the strings they are asked about.

Both are made up here from seeded random words, so that nothing of them is anybody's text. Strings
are bytes: some are no UTF-8.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator

# Letters words are made of, by script.
SCRIPTS: dict[str, str] = {
    "latin": "etaoinshrdlucmfwypvbgkjqxz",
    "accented": "aeiouàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿāăąćčďđēėęěğīįıłńňőœřśšşťůűųźżžßtnrsl",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяёєіїґ",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةىپچگک",
    "hebrew": "אבגדהוזחטיכךלמםנןסעפףצץקרשת",
    "devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्ंँ",
    "thai": "กขคงจฉชซญดตถทนบปผฝพฟภมยรลวศสหอฮะัาิีึืุูเแโใไ็่้๊๋์",
    "han": "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后",
    "kana": "あいうえおかがきぎくけこさしすせそただちつてとなにのはばまみもやよらりるれをんアイウエオカキクスタテトナニノハマンー",
    "hangul": "가각간갈감강개거건것게고공과국그기나난날남내너네노는다대도동드들라람러로를리마만말면모무문미바",
}

# Marks that follow a letter.
MARKS: dict[str, str] = {
    "latin": "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0323\u0327\u0328\u0331",
    "greek": "\u0301\u0308\u0345\u0313\u0314\u0342",
    "cyrillic": "\u0301\u0306\u0308",
    "arabic": "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0670",
    "hebrew": "\u05b0\u05b4\u05b5\u05b6\u05b7\u05b8\u05bc\u05c1",
    "devanagari": "\u093c\u094d\u0901\u0902",
    "thai": "\u0e31\u0e34\u0e48\u0e49",
}

ENGLISH = (
    "the of and to in is that it was for on are as with his they at be this from have or by one "
    "had not but what all were when we there can an your which their said if do will each about "
    "how up out them then she many some so these would other into has more her two like him see "
    "time could no make than first been its who now people my made over did down only way find use "
    "may water long little very after words called just where most know get through back much "
    "attention head layer residual stream induction circuit weight token value query key"
).split()

CODE = [
    "def f(x, y=0):\n    return x ** 2 + y\n",
    "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i] * 3.14f;\n}\n",
    "if (!ok && (a || b)) { goto fail; }",
    "x = {'key': [1, 2, 3], \"other\": None}\n",
    '#include <stdio.h>\nint main(void) { puts("hi"); return 0; }\n',
    "SELECT name, COUNT(*) FROM t WHERE id >= 10 GROUP BY name;",
    '<a href="https://example.org/?q=1&r=2#top">link</a>',
    "\\frac{a}{b} + \\sum_{i=1}^{n} x_i^2 = \\alpha",
    "$ grep -rn 'foo.*bar' ./src | sort -u > out.txt 2>&1",
    "const std::vector<int>& v = *this->data_;  // note\r\n",
    "lambda x: x if x != 0 else -1",
    "\tmov\t%rax, 0x10(%rsp)\n\tret\n",
    "camelCaseName snake_case_name SCREAMING_CASE kebab-case-name HTTPServer2Go",
    "/usr/local/lib/python3.11/site-packages/x.py:42: Warning",
    "```python\nprint(f'{a:>10.3f}')\n```",
    "user@example.com +1-555-0100 #hashtag @mention 50% $9.99 €10,50 №7",
]

SPACES = (
    [chr(c) for c in range(0x09, 0x0E)]
    + [" ", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u1680"]
    + [chr(c) for c in range(0x2000, 0x200B)]
    + ["\u2028", "\u2029", "\u202f", "\u205f", "\u3000"]
)
NO_SPACES = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u180e", "\xad", "\u200e", "\u200f"]

EMOJI = [
    "😀", "🙂🙃", "👍", "👍🏽", "👩🏿‍🔬", "👨‍👩‍👧‍👦", "❤️", "❤️‍🔥", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "1️⃣", "#️⃣", "☺",
    "☺️", "🤷‍♀️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🫠", "🧑‍🤝‍🧑", "✂️", "㊗️", "🀄", "👁️‍🗨️", "🇦", "🏽",
]  # fmt: skip

# Special tokens of all kinds; each kind knows a few of them.
SPECIALS = [
    "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>", "<|endoftext|>",
    "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|startoftext|>",
    "[CLS]", "[SEP]", "[UNK]", "[MASK]", "<start_of_turn>", "[INST]", "<fim>", "WORD",
]  # fmt: skip

# Bytes that are no UTF-8: lone and missing continuations, overlong forms, surrogates, too large.
BROKEN = [
    b"\x80", b"\xbf", b"\x80\x80\x80", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe0\x80\x80",
    b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2(\xa1", b"\xe2\x82(", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98",
    b"\xf0\x9f", b"\xf0", b"\xf0\x9f(\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xfe\xff\xfe",
    b"\xff\xff\xff\xff", b"\xe4\xb8", b"\xe4", b"\xf1\x80\x80", b"\xf1\x80\xe1\x80\xc2",
]  # fmt: skip


def lexicon(rng: random.Random) -> dict[str, list[str]]:
    """Made-up words of each script; English is made of its own."""
    out = {}
    for script, letters in SCRIPTS.items():
        syllables = ["".join(rng.choices(letters, k=rng.choice((1, 2, 2, 3)))) for _ in range(24)]
        words = []
        for _ in range(60):
            word = "".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3))))
            if script in MARKS and rng.random() < 0.2:
                at = rng.randrange(1, len(word) + 1)
                word = word[:at] + rng.choice(MARKS[script]) + word[at:]
            words.append(word)
        out[script] = words
    out["english"] = ENGLISH
    return out


def pick(rng: random.Random, words: list[str]) -> str:
    """A word; the first ones are common."""
    return words[min(int(rng.paretovariate(0.7)) - 1, len(words) - 1)]


def number(rng: random.Random) -> str:
    digits = "".join(rng.choices("0123456789", k=rng.randrange(1, 9)))
    return rng.choice(
        (digits, f"{digits}.{rng.randrange(100)}", f"{rng.randrange(1, 999)},{digits}")
    )


def sentence(rng: random.Random, lex: dict[str, list[str]]) -> str:
    script = rng.choice(["english"] * 8 + ["latin", "latin"] + list(SCRIPTS))
    joint = "" if script in ("han", "kana", "thai") else " "
    words = [pick(rng, lex[script]) for _ in range(rng.randrange(3, 12))]
    if rng.random() < 0.3:
        words.insert(rng.randrange(len(words)), number(rng))
    if rng.random() < 0.15:
        words[0] = words[0] + rng.choice(("'s", "'t", "'ll", "'re", "'ve", "'m", "'d"))
    text = joint.join(words)
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    return text + rng.choice((".", ".", ",", "!", "?", "...", "。" if not joint else ";"))


def training_text() -> list[str]:
    rng = random.Random(20240229)
    lex = lexicon(rng)
    lines = []
    for i in range(1500):
        lines.append(" ".join(sentence(rng, lex) for _ in range(rng.randrange(1, 4))))
        if i % 25 == 0:
            lines.append(rng.choice(CODE))
        if i % 40 == 0:
            lines.append(rng.choice(EMOJI) + " " + sentence(rng, lex))
    return lines


# ------------------------------------------------------------------------------- strings


def of_scripts(rng: random.Random, lex: dict[str, list[str]]) -> Iterator[str]:
    for words in lex.values():
        for _ in range(6):
            yield pick(rng, words)
        yield " " + pick(rng, words)
        yield pick(rng, words).upper()
        yield pick(rng, words).title() + " " + pick(rng, words)
    for _ in range(60):
        yield sentence(rng, lex)
    for _ in range(40):
        a, b = rng.choice(list(lex)), rng.choice(list(lex))
        yield pick(rng, lex[a]) + rng.choice(("", " ", "-", "/")) + pick(rng, lex[b])


def of_marks(rng: random.Random, lex: dict[str, list[str]]) -> Iterator[str]:
    for script, marks in MARKS.items():
        for _ in range(5):
            word = ""
            for c in pick(rng, lex[script]):
                word += c + "".join(rng.choices(marks, k=rng.choice((0, 1, 1, 2, 3))))
            yield word
            yield unicodedata.normalize("NFC", word)
    for text in (
        "Ångström café naïve",
        "ﬁne ﬂow ﬃ",
        "½ ¾ ⅞ ² ³ ₁₂",
        "ＡＢＣ １２３ ｶﾞ",
        "™ ℃ № ㎏ ㍿",
    ):
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            yield unicodedata.normalize(form, text)
    yield from (
        "각",
        "ᄀ",
        "ᄀ\u1161ᆨ",
        "가\u11a8",
        "\u1161\u11a8",
        "ㄱㅏㄴ",
        "한글 ᄒ\u1161ᆫ글",
        "ힰ\ud7cb",
    )
    yield from (
        "İstanbul ıI iİ",
        "ΣΊΣΥΦΟΣ ΟΔΟΣ",
        "ǅ ǆ Ǆ ŉ ẞß",
        "\u0301a",
        " \u0301",
        "e\u0301\u0323 e\u0323\u0301",
    )
    yield from (
        "豈更車 﨑",
        "葛󠄀 葛",
        "ﷺ ﻼ ﺑﺴﻢ",
        "שׁ",
        "क़ क़",
        "กำ ก\u0e4d\u0e32",
        "ꙮ 𝔘𝔫𝔦𝔠 𝟙𝟚",
        "𐍈𐌰 𒀀 𠀀𠮷",
    )


def of_spaces(rng: random.Random) -> Iterator[str]:
    for c in SPACES + NO_SPACES:
        yield c
        yield f"a{c}b"
        yield f" {c} x{c}{c}y "
    for n in (2, 3, 4, 5, 7, 8, 15, 16, 17, 24, 33, 100):
        yield " " * n
        yield "a" + " " * n + "b"
    yield from (
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        "a\nb",
        "a\r\nb\r\n",
        "\n \n",
        " \n",
        "\n ",
        "a \n b",
        "a\n\n\nb",
        "\t\t",
        " \t x",
        "x \n\n",
        "x\n ",
    )
    yield from (
        " a",
        "a ",
        " a ",
        "  a",
        "a  ",
        "   a   b   ",
        "a b",
        "a  b",
        "a   b",
        "\xa0a\xa0",
        "　日本　語",
        " \xa0 ",
        "x\t\n\x0b\x0c\r y",
        "  .",
        ". .",
        " 1",
        "1 2  3   4",
    )
    for _ in range(40):
        yield "".join(
            rng.choices(
                ["a", "b1", "é", ".", " ", " ", "\n", "\t", "\r\n", "\xa0", "\u3000", "\u2003"],
                k=rng.randrange(2, 14),
            )
        )


def of_numbers(rng: random.Random) -> Iterator[str]:
    for n in range(1, 22):
        yield "".join(rng.choices("0123456789", k=n))
    for _ in range(12):
        yield "x" + number(rng) + rng.choice((" ", "", "y", "%", "-")) + number(rng)
    yield from (
        "1,234,567.89",
        "3.14e-10",
        "0x1F2A",
        "1/2",
        "007",
        "2024-02-29",
        "12:34:56",
        "-5",
        "+5",
        "1st 2nd 3rd",
        "a1b22c333d4444",
        "v1.2.3-rc4",
        "$1,000.00",
        "50%",
        "1e5",
        "½1²",
        "Ⅷ ⅷ",
        "١٢٣٤٥",
        "१२३४",
        "１２３４",
        "๑๒๓",
        "①②③",
        "一二三",
        "𝟏𝟐𝟑",
        "²³¹",
        "12 345",
        "1 2 3",
        " 123",
        "123 ",
        "1'000",
    )


def of_contractions() -> Iterator[str]:
    for tail in ("s", "t", "re", "ve", "m", "ll", "d"):
        yield f"it'{tail}"
        yield f"IT'{tail.upper()} x"
        yield f"it'{tail}a '{tail} '{tail.title()}"
        yield f"it’{tail}"
    yield from (
        "'",
        "''",
        "'''s",
        "don't won't I'm we've they'll he'd",
        "DON'T WON'T I'M WE'VE THEY'LL HE'D",
        "rock'n'roll",
        "'tis",
        "x'ſ 'ſ ſ's K's",
        "it' s",
        "l'homme d'été",
        "'S'T'RE",
    )


def of_punctuation(rng: random.Random) -> Iterator[str]:
    ascii_marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    for c in ascii_marks:
        yield c
        yield f"a{c}b {c}c {c}{c}"
    for _ in range(30):
        yield "".join(rng.choices(ascii_marks, k=rng.randrange(2, 12)))
    for (
        c
    ) in "—–…«»¿¡§¶·•‘’“”„†‡‰‹›※‼⁇、。「」『』〜・！？，．：；؟،۔।॥๏¢£¥€©®°±×÷¬¦¨´¸ˆ˜≠≤∞∑√→←↔█★☃":
        yield f"a{c}b {c}{c}"
    yield from (
        "wait...what?!",
        "(a)[b]{c}<d>",
        "--- *** ___",
        "a.b.c",
        "e.g., i.e.",
        "\"quoted\" 'single'",
        "?!?!",
        "......",
        "=====",
        "a_b__c",
        "_x_",
        "///",
        "http://",
        "hello,world!",
        " , . ! ? ' n't",
    )


def of_controls() -> Iterator[str]:
    for c in [
        *range(0x20),
        *range(0x7F, 0xA0, 3),
        0xAD,
        0xFFFD,
        0xFFFC,
        0xFFFE,
        0xFFFF,
        0xE000,
        0xF8FF,
        0xF0000,
        0x10FFFD,
        0x10FFFF,
        0x1FFFE,
        0xFE0F,
        0x034F,
        0x061C,
        0x115F,
        0x2063,
        0xE0001,
    ]:
        yield chr(c)
        yield f"ab{chr(c)}cd {chr(c)}"
    yield from (
        "\0\0\0",
        "a\0",
        "\0a",
        "\x1b[31mred\x1b[0m",
        "\x00\x01\x02\x03\x7f",
        "\ufeffhello",
        "hello\ufeff",
        "\u202eabc\u202c",
        "a\u2066b\u2069",
    )


def of_emoji(rng: random.Random) -> Iterator[str]:
    for e in EMOJI:
        yield e
        yield f"so {e}{e} x"
    for _ in range(12):
        yield "".join(rng.choices([*EMOJI, " ", "a"], k=5))


def of_specials(rng: random.Random) -> Iterator[str]:
    for s in SPECIALS:
        yield s
        yield f"a{s}b"
        yield f"a {s} b"
        yield f"{s}{s}  {s}\n"
    for _ in range(20):
        yield "".join(rng.choices([*SPECIALS, "word", " ", "x", ".", "\n"], k=6))
    yield from (
        "<|endof",
        "<|endoftext|",
        "|endoftext|>",
        "<s",
        "<S>",
        "< s >",
        "[cls]",
        "<|endoftext|><|endoftext|",
        "<<s>>",
        "<s></s><s>",
        "WORDS xWORD WORD. WORD",
        "word WORD wORD",
        "<MASK> <Mask>",
    )
    yield from (
        "▁",
        "▁▁",
        "▁a",
        "a▁b ▁ c",
        "Ġ",
        "Ġthe",
        "Ċ",
        "##a",
        "a##b ##",
        "<0x41>",
        "<0x00> <0xFF>",
        "</w>",
        "⁇",
        " ⁇ ",
        "\\u2581",
        "\n\n\n\n",
        "▁▁▁▁▁",
    )


def of_code() -> Iterator[str]:
    yield from CODE
    yield "".join(CODE[:4])


def of_long(rng: random.Random, lex: dict[str, list[str]]) -> Iterator[str]:
    yield "a" * 257
    yield "".join(rng.choices(SCRIPTS["latin"], k=300))
    yield "".join(rng.choices("0123456789", k=200))
    yield "the" * 90
    yield "".join(rng.choices(SCRIPTS["han"], k=120))
    yield "".join(rng.choices("()[]{}.,-", k=120))
    yield "e\u0301" * 60
    yield "a\u0301\u0302\u0303\u0323" * 20
    yield " ".join(sentence(rng, lex) for _ in range(8))
    yield "\n".join(sentence(rng, lex) for _ in range(6))
    yield "x" * 99 + " " + "y" * 100 + " " + "z" * 101


def of_chance(rng: random.Random, lex: dict[str, list[str]]) -> Iterator[str]:
    parts = ["".join(v) for v in SCRIPTS.values()]
    for _ in range(90):
        pool = rng.choice(parts) + rng.choice(parts) + "   .,'1234\n-"
        yield "".join(rng.choices(pool, k=rng.randrange(1, 20)))
    for _ in range(60):
        points = []
        while len(points) < rng.randrange(1, 8):
            c = rng.choice((rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x20000)))
            if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn":
                points.append(chr(c))
        yield "".join(points)
    for _ in range(40):
        words = [pick(rng, lex["english"]) for _ in range(4)]
        yield rng.choice((" ", "  ", "\n", " - ", ", ")).join(words)


def of_broken(rng: random.Random) -> Iterator[bytes]:
    for b in BROKEN:
        yield b
        yield b"a" + b + b"b " + b
    for _ in range(40):
        yield bytes(rng.choices(range(256), k=rng.randrange(1, 12)))
    good = "aé日😀 ".encode()
    for _ in range(30):
        cut = bytearray(good * 2)
        del cut[rng.randrange(len(cut))]
        cut[rng.randrange(len(cut))] = rng.randrange(256)
        yield bytes(cut)


def test_strings() -> list[bytes]:
    """All of them, each once, in a fixed order; the first is empty."""
    rng = random.Random(31337)
    lex = lexicon(random.Random(20240229))
    texts: list[str] = [""]
    texts += of_scripts(rng, lex)
    texts += of_marks(rng, lex)
    texts += of_spaces(rng)
    texts += of_numbers(rng)
    texts += of_contractions()
    texts += of_punctuation(rng)
    texts += of_controls()
    texts += of_emoji(rng)
    texts += of_specials(rng)
    texts += of_code()
    texts += of_long(rng, lex)
    texts += of_chance(rng, lex)
    return list(dict.fromkeys([t.encode() for t in texts] + list(of_broken(rng))))
