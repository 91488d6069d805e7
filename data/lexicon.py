"""The lexicon of the sample: word tables, inflection, and their translation into grammar rules.

Every table is a block of text lines ``columns : words``.  Words carry mild semantic classes (person, food, room,
...), so that the grammar can ask for a verb that fits a subject and for an object that fits the verb.  `rules`
spells every inflected form out as one line of the rule syntax that `grammar` reads.
"""

from __future__ import annotations

from collections.abc import Iterator

# Names for sets of classes, usable wherever a class can be written.
ALIASES = {
    "meal": "food|staple",
    "agent": "person|group",
    "being": "person|animal",
    "tool": "blade|kit|pen|lens|cloth",
    "portable": "item|garment|container|text|tool|music",
    "room": "building|area",
    "place": "building|area|spot|road",
    "sky": "weather|storm",
    "located": "being|group|made|text|meal|drink|event|idea|plant|sky",
    "made": "item|garment|container|storage|surface|music|vehicle|tool",
    "inert": "made|text|meal|drink|plant|event|idea|sky|place",
}

# class : count nouns (irregular plurals after a slash).  The class "role" is a person who can be "a ROLE".
NOUNS = """
role      : teacher doctor farmer nurse lawyer painter singer baker driver student sailor soldier judge gardener
role      : carpenter waiter tailor clerk engineer scientist poet actor dancer musician pilot journalist librarian
role      : butcher fisherman/fishermen photographer plumber
person    : girl boy woman/women man/men child/children neighbour friend guest visitor tourist captain mayor stranger
person    : manager cyclist customer passenger shepherd hunter thief/thieves witness landlord colleague
group     : team family committee crew choir orchestra club jury
animal    : dog cat horse cow goat sheep/sheep pig hen duck goose/geese rabbit fox wolf/wolves bear lion monkey
animal    : donkey mouse/mice bird squirrel pony crow owl parrot
food      : apple pear orange egg cake sandwich biscuit carrot potato tomato pancake pie lemon onion sausage plum
item      : ball toy key lamp clock mirror ring coin bottle cup plate candle pillow blanket umbrella statue vase
item      : ticket wallet kettle doll
garment   : hat coat scarf/scarves shirt dress jacket cap
container : box bag basket bucket suitcase
storage   : drawer cupboard wardrobe
surface   : table desk shelf/shelves chair bench counter
blade     : knife/knives cleaver
kit       : hammer screwdriver
pen       : pen pencil
lens      : telescope camera
cloth     : sponge brush
music     : piano/pianos guitar violin drum flute trumpet
text      : book letter newspaper poem novel report diary message essay article postcard
vehicle   : car bus bicycle truck van taxi tractor motorbike lorry/lorries
building  : kitchen house school library office hotel museum theatre church shop factory hospital castle cellar barn
building  : cottage bakery restaurant
area      : garden park forest village city town valley market harbour orchard
spot      : hill roof island mountain farm balcony platform
road      : street road bridge path beach square
event     : meeting party concert wedding festival match lesson race exhibition ceremony
idea      : plan question answer story problem idea rule secret joke decision mistake proposal theory
plant     : tree flower rose bush oak tulip
storm     : storm flood hurricane avalanche
"""

MASS = """
food    : bread cheese chocolate
staple  : rice soup butter honey pasta
drink   : tea coffee milk juice water lemonade
weather : rain snow wind fog thunder
"""

NAMES = """
person : Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Laura Martin Nora Oscar Paula Robert Sofia Thomas
person : Vera Walter
town   : London Paris Rome Vienna Lisbon Oslo Madrid Dublin Prague
"""

KIN = """
brother sister mother father uncle aunt cousin grandmother grandfather daughter son friend neighbour teacher doctor
colleague
"""

UNIQUE = frozenset({"mother", "father"})  # kin without a plural

# class : adjectives, praise with a plus and blame with a minus.  Words joined by slashes exclude each other within
# a sentence.
ADJECTIVES = """
person      : old/young rich+/poor- clever+/foolish- kind+/rude- brave+ tall honest+ friendly+ lazy- famous+ shy polite+
person      : tired- happy+/sad- angry-/calm+ hungry- busy nervous- lonely- curious careful+
animal      : old/young big/small hungry- tired- wild-/tame+ clever+ friendly+ strong+ nervous- lazy- curious
group       : large/small famous+ friendly+ successful+ young
meal        : fresh+/stale- sweet+/sour- delicious+ cold/hot/warm cheap+/expensive-
drink       : cold/hot/warm delicious+ fresh+ sweet+/bitter-
made        : old/new big/small heavy-/light+ cheap+/expensive- beautiful+/ugly- useful+ strange/ordinary clean+/dirty-
text        : long/short interesting+/boring- famous+ difficult-/easy+ old/new funny+ strange
place       : old/new large/small beautiful+/ugly- quiet+/noisy- famous+ crowded-/empty dark- lovely+ dangerous-/safe+
event       : long/short interesting+/boring- wonderful+/terrible- noisy-/quiet+ successful+ expensive-
idea        : good+/bad- new/old simple+/difficult- important+ strange clever+/silly- terrible-/wonderful+
plant       : tall/small old/young beautiful+ green
sky         : strong terrible- heavy- dangerous-
"""

COLOURS = "red green blue yellow white black brown grey"

COMPARATIVES = """
being   : older/younger faster/slower stronger
animal  : smaller/bigger
person  : taller richer
made    : older/newer smaller/bigger heavier/lighter cheaper
place   : larger/smaller older quieter darker
plant   : taller/smaller older
text    : longer/shorter older
event   : longer/shorter
"""

# frame, subject classes, object classes, class of the tool : verbs (with a preposition or particle after a plus)
VERBS = """
intr   being                    : rest jump hide disappear sleep wait
intr   person                   : laugh smile cry sing dance hesitate nod travel complain sneeze shout wave study
intr   person|group|vehicle     : arrive leave
intr   group                    : win lose practise
intr   sky                      : begin stop return
intr   vehicle                  : stop crash
intr   event                    : begin end start
intr   item|music|blade         : fall break vanish
intr   text|garment|container   : vanish burn
intr   idea                     : fail succeed matter
intr   plant                    : grow die
intr   food                     : burn rot
intr   building                 : close open burn

move   being                    : walk run hurry wander race
move   person                   : go travel drive march cycle
move   vehicle                  : go race
stay   person                   : live stay sit stand wait work sleep play dance
stay   animal                   : live stay sit lie sleep play hide
stay   plant                    : grow stand
stay   item|garment|tool|text   : lie

tr     person    person         : greet visit help thank invite meet call admire hire follow hug
tr     person    animal         : feed wash train ride follow brush
tr     animal    animal         : chase follow watch bite frighten
tr     animal    person         : bite follow watch frighten
tr     animal    meal           : eat smell steal
tr     person    meal           : eat cook buy sell share prepare order bring taste
tr     person    drink          : drink pour taste order spill
tr     person    item|garment   : buy sell find lose carry clean steal borrow drop break
tr     person    container      : carry open close empty fill
tr     person    storage        : open close empty paint
tr     person    garment        : wear sew wash iron
tr     person    surface        : clean build paint move
tr     person    text           : read write publish copy translate finish print
tr     person    vehicle        : drive park repair wash buy sell
tr     person    music          : play buy sell
tr     person    tool           : buy borrow find lose
tr     person    blade|pen      : sharpen
tr     agent     room           : visit leave enter reach explore
tr     agent     building       : clean build open close
tr     agent     spot           : reach explore photograph
tr     agent     road           : cross reach photograph
tr     agent     event          : organise attend enjoy cancel miss watch
tr     agent     idea           : discuss explain accept reject forget remember mention understand
tr     person    plant          : water plant cut
tr     storm     vehicle|road|building|plant : damage destroy
tr     storm     area           : destroy reach
tr     weather   area|road|plant : cover
tr     weather   vehicle        : delay stop
tr     idea|event|text person   : surprise please bore annoy amuse shock
tr     sky       being          : frighten surprise wake

stat   person    person         : know like love hate trust see hear need miss
stat   person    animal         : like love hate see hear own
stat   person    place          : like love hate know see
stat   person    portable       : like need own want see have
stat   person    vehicle        : like need own want see have
stat   person    meal|drink     : like love hate need want
stat   person    idea|event     : like love hate
stat   animal    meal           : like love hate
stat   animal    being          : see hear fear like

ditr   person    item|garment|text|music : give show send lend offer hand sell
ditr   person    meal           : give bring offer hand sell
ditr   person    tool           : give lend hand sell
put    person    item|garment|text|food|tool : put leave hide place keep throw
prepv  person    person|animal  : look+at wait+for talk+about think+about laugh+at care+for search+for worry+about
prepv  person    person         : listen+to talk+to write+to dream+of agree+with apologise+to rely+on
prepv  person    idea|event     : think+about talk+about laugh+at worry+about
prepv  person    item|garment|text|tool : look+at search+for pay+for ask+for
prepv  person    vehicle|event  : wait+for pay+for
prepv  person    text|music     : look+at talk+about
prepv  animal    being          : wait+for run+after look+at
prepv  item|garment|text|music|vehicle person : belong+to
part   person    item|garment|text|container : pick+up throw+away put+down hand+over take+away
part   person    garment        : put+on take+off try+on
part   person    text           : look+up write+down tear+up
part   person    idea           : give+up point+out work+out
part   person    person         : wake+up call+up
tool   person    food     blade : cut slice chop
tool   person    surface|vehicle kit : repair fix
tool   person    text     pen   : write sign
tool   person    vehicle|surface cloth : wash clean
tool   person    animal|person lens : watch observe

say    person                   : say claim insist announce explain notice discover forget remember promise admit
think  person                   : think believe know hope say
told   person                   : tell remind assure convince warn
wonder person                   : wonder ask
aims   being                    : want try begin refuse
aims   person                   : hope decide plan agree promise learn need manage prefer
asks   person                   : ask tell persuade help force allow teach invite advise
ger    person                   : enjoy start stop finish avoid keep
link   person|animal            : seem look
link   made|text|event|idea|place : seem look
feels  person                   : feel become
itrain it                       : rain snow
"""

# These verbs, or all verbs of these frames, denote states and have no progressive.
STATIVE = frozenset({"stat", "think", "told", "link", "ger", "want", "need", "prefer"})

# base, past, participle; a verb that doubles its last consonant stands in DOUBLING instead.
IRREGULAR = """
sleep slept slept     sing sang sung      leave left left       win won won         lose lost lost
begin began begun     fall fell fallen    break broke broken    grow grew grown     run ran run
go went gone          drive drove driven  sit sat sat           stand stood stood   meet met met
feed fed fed          ride rode ridden    bite bit bitten       eat ate eaten       steal stole stolen
buy bought bought     sell sold sold      bring brought brought drink drank drunk   find found found
wear wore worn        build built built   read read read        write wrote written forget forgot forgotten
cut cut cut           wake woke woken     understand understood understood          know knew known
see saw seen          hear heard heard    give gave given       show showed shown   send sent sent
lend lent lent        put put put         hide hid hidden       keep kept kept      throw threw thrown
think thought thought pay paid paid       take took taken       tear tore torn      say said said
tell told told        become became become feel felt felt       teach taught taught have had had
spill spilt spilt     lie lay lain        sew sewed sewn
"""
DOUBLING = """
hug chop plan stop nod drop prefer cancel rot begin run sit forget cut put win admit travel
"""
VOWELS = frozenset("aeiou")


def table(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the columns and the words of every nonempty line ``columns : words``."""
    for line in text.strip().splitlines():
        if line.strip():
            columns, _, words = line.partition(":")
            yield columns.split(), words.split()


def add_s(word: str) -> str:
    """Return the plural of a regular noun, which is also the third person of a verb."""
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    if word.endswith(("s", "sh", "ch", "x", "z", "o")):
        return word + "es"
    return word + "s"


def add_ed(verb: str) -> str:
    """Return the past tense of a regular verb."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if verb in DOUBLING.split() else "") + "ed"


def add_ing(verb: str) -> str:
    """Return the present participle of a verb."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if verb in DOUBLING.split() else "") + "ing"


def irregular_pasts() -> dict[str, tuple[str, str]]:
    """Return the past tense and the past participle of every irregular verb."""
    words = IRREGULAR.split()
    return {words[i]: (words[i + 1], words[i + 2]) for i in range(0, len(words), 3)}


def noun_rules() -> Iterator[str]:
    """Yield the rules of common nouns, kin and names."""
    for (kind,), words in table(NOUNS):
        for word in words:
            singular, _, plural = word.partition("/")
            forms = (("sg", "NN", singular), ("pl", "NNS", plural or add_s(singular)))
            for number, tag, form in forms:
                yield f"1 noun({number},{'person' if kind == 'role' else kind}) = ({tag} {form}) @{singular}"
                if kind == "role":
                    yield f"1 role({number}) = ({tag} {form}) @{singular}"
    for (kind,), words in table(MASS):
        for word in words:
            yield f"1 noun(mass,{kind}) = (NN {word}) @{word}"
    for (kind,), words in table(NAMES):
        for word in words:
            yield f"1 name({kind}) = (NNP {word}) @{word}"
    for word in KIN.split():
        yield f"1 kin(sg) = (NN {word}) @{word}"
        if word not in UNIQUE:
            yield f"1 kin(pl) = (NNS {add_s(word)}) @{word}"


def adjective_rules() -> Iterator[str]:
    """Yield the rules of adjectives and comparatives; alternatives share a lemma, so only one is used."""
    for name, tag, text in (("adj", "JJ", ADJECTIVES), ("comparative", "JJR", COMPARATIVES)):
        for (kinds,), words in table(text):
            for group in words:
                alternatives = group.split("/")
                for marked in alternatives:
                    word = marked.rstrip("+-")
                    sense = {"+": "praise", "-": "blame"}.get(marked[-1], "neutral")
                    arguments = f"{kinds},{sense}" if name == "adj" else kinds
                    yield f"{1 / len(alternatives):.2f} {name}({arguments}) = ({tag} {word}) @{alternatives[0]}"
    for word in COLOURS.split():
        yield f"1 colour() = (JJ {word}) @{word}"


def verb_forms(verb: str) -> Iterator[tuple[float, str, str, str]]:
    """Yield weight, ``form,number``, tag and spelling of all forms of a verb."""
    past, participle = irregular_pasts().get(verb, (add_ed(verb), add_ed(verb)))
    third = "has" if verb == "have" else add_s(verb)
    yield 1, "base,_", "VB", verb
    yield 1, "pres,sg", "VBZ", third
    yield 1, "pres,pl", "VBP", verb
    # The number "me" (first person singular) is rare where nothing else decides the number.
    yield 0.15, "pres,me", "VBP", verb
    yield 1, "past,_", "VBD", past
    yield 1, "pp,_", "VBN", participle
    yield 1, "ing,_", "VBG", add_ing(verb)


def verb_rules() -> Iterator[str]:
    """Yield the rules of verbs, one for each frame, selection and form."""
    for (frame, *classes), words in table(VERBS):
        for word in words:
            verb, _, particle = word.partition("+")
            for weight, form, tag, spelling in verb_forms(verb):
                if form == "ing,_" and {frame, verb} & STATIVE:
                    continue
                arguments = ",".join([form, *classes, *([particle] if particle else [])])
                yield f"{weight} {frame}({arguments}) = ({tag} {spelling}) @{verb}"


def rules() -> list[str]:
    """Return the whole lexicon as rule lines."""
    return [*noun_rules(), *adjective_rules(), *verb_rules()]
