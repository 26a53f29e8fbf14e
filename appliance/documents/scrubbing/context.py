"""Words before a number: they say what it is.

To search forty characters for a hundred words costs more than all else that is done to a number.
So a pattern says with which letters its words begin, and is only asked where one of them does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.documents.scrubbing.finding import HEAD, Number, Piece


@dataclass(frozen=True, slots=True)
class Label:
    """Words that may stand before a number.

    Attributes:
        words: regular expressions in small letters, each starting with plain letters.
        reach: regular expression of what may stand between them and the number.
    """

    pattern: re.Pattern[str]
    heads: frozenset[str]

    def stands_before(self, number: Number, piece: Piece) -> bool:
        """Whether one of the words does."""
        if self.heads.isdisjoint(number.heads):
            return False
        return self.pattern.search(piece.look_before(number.start)) is not None


def make_label(words: str, reach: str) -> Label:
    """A label from words parted by spaces; `_` in a word stands for a space or sign, or nothing."""
    patterns = [word.replace("_", r"[\s._-]?") for word in words.split()]
    pattern = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(patterns)}){reach}\Z")
    return Label(pattern, frozenset(map(_find_head, words.split())))


def _find_head(word: str) -> str:
    """The letters by which a word of a label is known; fewer than four only of whole words."""
    if not word[0].isalpha():
        return word[-1]  # an escaped sign
    letters, rest = re.fullmatch(r"([^\W\d_]+)(.*)", word).groups()  # type: ignore[union-attr]
    assert len(letters) - rest.startswith(("?", "*")) >= HEAD or rest[:1] in ("", "_"), word
    return str(letters[:HEAD])


OTHERWISE = make_label(
    r"orders? bestell\w* auftrag\w* invoices? rechnung\w* part parts teil teile art artnr "
    r"artikel\w* articles? item items serial serien\w* sku models? modell typ type types "
    r"tickets? case cases vorgang\w* delivery liefer\w* note notes batch charge lot po rfc "
    r"iso din en ean gtin upc barcode isbn(?:-1[03])? issn doi cas version release build "
    r"commit hash md sha etag uuid guid request parcel tracking shipment paket\w* package "
    r"consignment postcode zip plz position budget total price preis cost amount eur usd "
    r"row rows line lines page pages seite room rooms raum drawing zeichnung\w* standard "
    r"norm revision pump seal \# \$ \€ \£ \§",
    r"(?: ?(?:no|nr|number|nummer|id|code)\b)?[\s\d\"'.:=#(|-]{0,6}",
)
"""Numbers that are nobody's: orders, parts, prices, pages."""
