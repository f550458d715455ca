r"""Numbers as people and LaTeX write them: 1 200, Rs18, １８, 1.5 million, \frac{1}{2}, 3 × 10⁶."""

import re
import unicodedata
from fractions import Fraction

LONGEST_NUMBER = 100
"""Characters; a longer run of digits is the babble of a broken model and no number."""

_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)"
_SCALES = {"hundred": 2, "thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "bn": 9, "trillion": 12}
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9}
# Starts neither inside a word or number nor in an exponent. A minus between two numbers ("10-4", "(3)-4") is no sign.
NUMBER = (
    r"(?<![0-9A-Za-zÀ-ɏ])(?<![0-9]\.)(?<!\^)(?<!\^\{)"
    r"(?P<sign>\$-|(?<![)\]%}-])-\$?|\$)?"
    r"(?:(?P<whole>[0-9]{1,9}) +(?:and +)?(?=[0-9]+ ?/ ?[0-9]))?"
    rf"(?P<number>{_DECIMAL})(?: ?/ ?(?P<below>{_DECIMAL}))?"
    rf"(?P<scale>(?:[ -]?(?i:(?:{'|'.join(_SCALES)})(?:(?<!hundred)s)?)(?![^\W_]))+|(?<=[0-9])[kKMB](?![^\W_]|\$))?"
)
_NUMBERS = re.compile(NUMBER)

# Letters that stand for a currency before a number; signs are known by their category.
_CODE = re.compile(
    r"(?<![^\W_])(?:(?:US|CA|AU|NZ|HK|NT|[ACRS])(?=\$)|(?:Rs|Re|Rp|RM|Tk|Kr|kr|Fr|KSh|INR|PKR|USD|EUR|GBP|JPY|CNY|RMB|CHF|CAD"
    r"|AUD|NZD|SGD|HKD|SEK|NOK|DKK|PLN|CZK|ZAR|BRL|MXN|KRW|PHP|THB|IDR|NGN|KES|AED)\.?[ ]?(?=-?\$?[0-9]))"
)
# A number of thousands in groups of three digits. "Step 1 200" is no such number, nor is "1 200/300".
_GROUPED = re.compile(
    r"(?<![\w.,/])(?<![0-9] )[1-9][0-9]{0,2}([ '’_])[0-9]{3}(?:\1[0-9]{3})*(?![0-9,]|-[A-Za-z])(?! ?/ ?[0-9])"
)
_COUNTED = re.compile(
    r"(?:step|day|part|week|month|year|room|no\.?|number|problem|question|item|group|team|class|grade|page)[ ]*\Z", re.I
)
_POWER = re.compile(
    r"(?<![\w.])([0-9]{1,20}(?:\.[0-9]{1,20})?)(?: ?[*×xX] ?10(?:\^"
    r"|\*\*) ?[{(]?(?P<power>[-+]?[0-9]{1,2})[})]?|[eE](?P<e>[-+]?[0-9]{1,2}))(?!\w)"
)
_EXPONENT = re.compile("(?<=10)[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_OTHERS = {"−": "-", "٫": ".", "٬": ",", "⁄": "/"}


def canonical(value: Fraction) -> str:
    """Equal numbers, equal strings: 18, -0.5, 1/3 (the exact decimal, or where there is none, the reduced fraction)."""
    places = next((p for p in range(LONGEST_NUMBER + 1) if 10**p % value.denominator == 0), 0)
    if not places:
        return str(value)
    digits = f"{abs(value.numerator) * 10**places // value.denominator:0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _character(match: re.Match[str]) -> str:
    """A digit of any script, a currency, a space or a full-width sign as the plain character."""
    sign = match[0]
    kind = unicodedata.category(sign)
    if kind == "Nd":
        return str(unicodedata.decimal(sign))
    if kind == "No" and "⁄" in (parts := unicodedata.normalize("NFKC", sign)):
        return " " + parts.replace("⁄", "/")
    if kind in ("Sc", "Zs"):
        return "$" if kind == "Sc" else " "
    return chr(ord(sign) - 0xFEE0) if "！" <= sign <= "～" else _OTHERS.get(sign, sign)


def _grouped(match: re.Match[str]) -> str:
    counted = match[1] == " " and _COUNTED.search(match.string, max(0, match.start() - 12), match.start())
    return match[0] if counted else match[0].replace(match[1], "")


def _power(match: re.Match[str]) -> str:
    return canonical(Fraction(match[1]) * Fraction(10) ** int(match["power"] or match["e"]))


def plain(text: str) -> str:
    """A text with its numbers in plain characters, and every currency as a dollar sign."""
    text = _EXPONENT.sub(lambda match: "^" + match[0].translate(_RAISED), text)
    text = re.sub(r"[^\x00-\x7f]", _character, text)
    text = re.sub(r"(-?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1\2/\3 ", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\(?:times|cdot)(?![a-zA-Z])", "*", re.sub(r"\\(?:approx|simeq)(?![a-zA-Z])", "≈", text))
    text = re.sub(r"\\([$%])", r"\1", re.sub(r"\\[!,;]", "", text.replace("{,}", ",")))
    text = _POWER.sub(_power, _CODE.sub("$", text).replace("$$-", "$-"))
    text = re.sub(r"(?<![\w.,])[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![\w,])", lambda m: m[0].replace(",", ""), text)
    text = re.sub(r"(?<![\w.,])[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![\w.])", lambda m: m[0].replace(".", ""), text)
    text = re.sub(
        r"(?<![\w.,])[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}(?![\w,])",
        lambda m: m[0].replace(".", "").replace(",", "."),
        text,
    )
    text = re.sub(
        r"(?<![\w.,])([0-9]+),([0-9]{1,2})(?=[ ]?\$(?![0-9])|[ -]?(?:m|b|tr)illion)"
        r"|(?<=\$)([0-9]+),([0-9]{2})(?![\w,])",
        lambda m: f"{m[1] or m[3]}.{m[2] or m[4]}",
        text,
    )
    return _GROUPED.sub(_grouped, text)


def numbers(text: str) -> list[tuple[int, int, Fraction]]:
    """Every number of a plain text: where it begins and ends, and its value.

    Mixed numbers ("1 1/2"), fractions and numbers with words ("1.5 million", "2 million 500 thousand") count as one.
    """
    found: list[tuple[int, int, Fraction]] = []
    scales: list[int] = []
    for match in _NUMBERS.finditer(text):
        below = Fraction((match["below"] or "1").replace(",", "")) if len(match[0]) <= LONGEST_NUMBER else 0
        if not below:
            continue
        value = int(match["whole"] or 0) + Fraction(match["number"].replace(",", "")) / below
        word, end = match["scale"] or "", match.end()
        if word in _LETTERS:
            scale = _LETTERS[word] if "$" in (match["sign"] or "") else 0
        else:
            words = re.findall(r"[a-z]+", word.lower())
            scale = sum(_SCALES.get(one, 0) or _SCALES[one.rstrip("s")] for one in words)
        value *= 10**scale
        value = -value if "-" in (match["sign"] or "") else value
        if scale and found and scales[-1] > scale and re.fullmatch(r",? (?:and )?", text[found[-1][1] : match.start()]):
            found[-1] = (found[-1][0], end, found[-1][2] + value)
            scales[-1] = scale
        else:
            found.append((match.start(), end, value))
            scales.append(scale)
    return found


def values(text: str) -> list[Fraction]:
    """The values of `numbers`."""
    return [value for _, _, value in numbers(text)]
