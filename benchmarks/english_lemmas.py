"""Words as their lemmas, for teachers' texts that were published in lemmas: rules, and a table of irregular forms.

A word that the training text knows stays as it is, unless it is an irregular form of a word that occurs there more than
twice as often.
"""

from __future__ import annotations

from collections.abc import Mapping

_IRREGULAR = """
be am is are was were been being 're 'm;have has had having 've;do does did done doing;say said says;go went gone goes;
will would 'll wo;can could ca;shall should;may might;not n't;i me;he him;we us;they them;who whom;good better best;
bad worse worst;arise arose arisen;awake awoke awoken;bear bore borne born;beat beaten;become became;begin began begun;
bend bent;bid bade;bind bound;bite bit bitten;bleed bled;blow blew blown;break broke broken;breed bred;bring brought;
build built;burn burnt;buy bought;catch caught;choose chose chosen;cling clung;come came;creep crept;deal dealt;dig dug;
draw drew drawn;dream dreamt;drink drank drunk;drive drove driven;eat ate eaten;fall fell fallen;feed fed;feel felt;
fight fought;find found;flee fled;fling flung;fly flew flown;forbid forbade forbidden;forget forgot forgotten;
forgive forgave forgiven;freeze froze frozen;get got gotten;give gave given;grind ground;grow grew grown;hang hung;
hear heard;hide hid hidden;hold held;keep kept;kneel knelt;know knew known;lay laid;lead led;lean leant;leap leapt;
learn learnt;leave left;lend lent;lie lain lying;light lit;lose lost;make made;mean meant;meet met;
mistake mistook mistaken;pay paid;prove proven;ride rode ridden;ring rang rung;rise rose risen;run ran;see saw seen;
seek sought;sell sold;send sent;shake shook shaken;shine shone;shoot shot;show shown;shrink shrank shrunk;
sing sang sung;sink sank sunk;sit sat;sleep slept;slide slid;speak spoke spoken;spend spent;spin spun;
spring sprang sprung;stand stood;steal stole stolen;stick stuck;sting stung;strike struck;strive strove striven;
swear swore sworn;sweep swept;swell swollen;swim swam swum;swing swung;take took taken;teach taught;tear tore torn;
tell told;think thought;throw threw thrown;understand understood;undertake undertook undertaken;wake woke woken;
wear wore worn;weave wove woven;weep wept;win won;wind wound;withdraw withdrew withdrawn;withstand withstood;
write wrote written;man men;woman women;child children;foot feet;tooth teeth;mouse mice;goose geese;wife wives;
life lives;half halves;shelf shelves;knife knives;leaf leaves;self selves;wolf wolves;thief thieves;
criterion criteria;datum data;phenomenon phenomena;basis bases;crisis crises;analysis analyses;thesis theses
"""
_LEMMA_OF: dict[str, str] = {}
for _entry in _IRREGULAR.replace("\n", "").split(";"):
    _lemma, *_forms = _entry.split()
    for _form in _forms:
        _LEMMA_OF.setdefault(_form, _lemma)


def lemma(word: str, counts: Mapping[str, int]) -> str:
    """Return the lemma of a word, lowercased, by the words of a text in lemmas and how often it has them."""
    word = word.lower()
    known = counts.get(word, 0)
    irregular = _LEMMA_OF.get(word)
    if irregular is not None and counts.get(irregular, 0) > 2 * known:
        return irregular
    if known >= 2:
        return word
    candidates = [form for form in _candidates(word) if len(form) > 1 and counts.get(form, 0)]
    if candidates:
        return max(candidates, key=lambda form: counts[form])
    if word.isalpha():
        if word.endswith("ies") and len(word) > 4:
            return word[:-3] + "y"
        if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
            return word[:-1]
    return word


def _candidates(word: str) -> list[str]:
    """Return what a word may be an inflection of."""
    found = []
    if word.endswith(("ies", "ied")):
        found.append(word[:-3] + "y")
    if word.endswith("ying"):
        found.append(word[:-4] + "ie")
    if word.endswith("s") and not word.endswith("ss"):
        found.append(word[:-1])
    if word.endswith("es"):
        found.append(word[:-2])
    if word.endswith("ves"):
        found += [word[:-3] + "f", word[:-3] + "fe"]
    for suffix in ("ed", "ing", "er", "est"):
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            found += [stem, stem + "e"]
            if len(stem) > 3 and stem[-1] == stem[-2]:
                found.append(stem[:-1])
            if stem.endswith("i"):
                found.append(stem[:-1] + "y")
    return found
