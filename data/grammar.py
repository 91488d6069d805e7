"""The weighted grammar of the sample, one rule a line; `rules` explains the syntax, `lexicon` holds the open classes.

Features, always in this order: case C (nom, acc); tense T or verb form F (pres, past, base, ing, pp); number N
(sg, pl, mass, and me for the first person singular); semantic class K of the subject, O of the object.
"""

from __future__ import annotations

from functools import cache

import lexicon
from rules import Rule, parse_rule

RULES = """
# --- Sentences
64   root() = tense(T) clause(T)
6*   root() = tense(T) (S clause(T) (CC and) clause(T))
2*   root() = tense(T) (S clause(T) (CC but) clause(T))
11   root() = tense(T) yesno(T)
13   root() = tense(T) (SBARQ wh(T))
7    tense(past) = -
3    tense(pres) = -

# --- Clauses: T is the tense
52   clause(T) = (S topic(K) np(nom,N,K) vp(T,N,K))
4    clause(T) = (S topic(K) np(nom,N,K) (ADVP often()) (VP action(T,N,K)))
3    clause(past) = (S (ADVP opening()) topic(K) np(nom,N,K) simple(past,N,K))
2    clause(past) = (S (NP (NN yesterday)) np(nom,N,person) simple(past,N,person)) @day
2    clause(T) = (S time() np(nom,N,person) vp(T,N,person))
5*   clause(T) = (S subordinate(T) topic(K) np(nom,N,K) vp(T,N,K))
4    clause(T) = (S (NP (EX there)) (VP ^be(T,N) some(N,K) where(K)))
2*   clause(T) = (S (NP (EX there)) (VP ^be(T,N) (NP some(N,K) rel(N,K)) where(K)))
2    clause(T) = (S known(N) (VP be(T,N) be_role(N)))
2*   clause(T) = (S (NP (PRP it)) (VP be(T,sg) (ADJP ease()) (S (VP (TO to) lexical(base,_,person)))))
1    clause(T) = (S (NP (PRP it)) (VP itrain(T,sg,it) when()))

# The subject's class, mostly a person
60   topic(person) = -
9    topic(animal) = -
5    topic(group) = -
3    topic(item|garment|container|vehicle) = -
6    topic(text|event|idea) = -
5    topic(sky|plant|building|food) = -

# --- Questions
5    yesno(T) = (SQ ^topic(K) do(T,N) ^np(nom,N,K) lexical(base,_,K))
4    yesno(T) = (SQ ^topic(K) modal(T) np(nom,_,K) core(base,_,K))
4    yesno(T) = (SQ ^topic(K) be(T,N) ^np(nom,N,K) adjp(K))
2    yesno(T) = (SQ ^topic(K) be(T,N) ^np(nom,N,K) core(ing,_,K))
2    yesno(T) = (SQ ^topic(K) have(T,N) ^np(nom,N,K) core(pp,_,K))
2    yesno(T) = (SQ be(T,N) ^np(nom,N,O) ^passive(O))
1    yesno(T) = (SQ be(T,N) (NP (EX there)) ^some(N,K) where(K))

6    wh(T) = (WHNP ask_for(O)) (SQ do(T,N) ^np(nom,N,person) (VP ^gapped(base,_,person,O)))
2    wh(T) = (WHNP ask_for(O)) (SQ modal(T) ^np(nom,_,person) (VP ^gapped(base,_,person,O)))
4    wh(T) = (WHNP (WP who)) (SQ vp(T,sg,person))
3    wh(T) = (WHNP (WDT which) noun(M,O)) (SQ do(T,N) ^np(nom,N,person) (VP ^gapped(base,_,person,O)))
2    wh(T) = (WHNP (WHADJP (WRB how) (JJ many)) noun(pl,O)) (SQ do(T,N) np(nom,N,person) (VP ^gapped(base,_,person,O)))
2    wh(T) = (WHNP (WP$ whose) ^owned(O) noun(M,O)) (SQ do(T,N) np(nom,N,person) (VP ^gapped(base,_,person,O)))
4    wh(T) = (WHADVP (WRB why)) yesno(T)
4    wh(T) = (WHADVP (WRB where)) (SQ do(T,N) ^np(nom,N,person) (VP tr(base,_,person,O) full(_,O)))
3    wh(T) = (WHADVP (WRB when)) (SQ do(T,N) ^np(nom,N,person) (VP act(base,_,person)))
2    wh(T) = (WHADVP (WRB how)) (SQ do(T,N) ^np(nom,N,person) (VP tool(base,_,person,O,_) full(_,O)))
3    ask_for(person) = (WP who)
1    ask_for(group|animal|meal|drink|made|text|building|event|idea|plant) = (WP what)

# --- Verb phrases: finite, agreeing with a subject of number N and class K
50   vp(T,N,K) = simple(T,N,K)
9    vp(T,_,K) = (VP modal(T) core(base,_,K))
2    vp(T,_,K) = (VP modal(T) (RB not) core(base,_,K))
4    vp(T,N,K) = (VP do(T,N) (RB not) lexical(base,_,K))
1    vp(T,N,K) = (VP be(T,N) (RB not) adjp(K))
7    vp(T,N,K) = (VP be(T,N) core(ing,_,K))
5    vp(T,N,K) = (VP have(T,N) core(pp,_,K))
9    vp(T,N,K) = (VP be(T,N) passive(K))
3    vp(T,_,K) = (VP modal(T) (VP (VB be) passive(K)))
2    vp(T,N,K) = (VP have(T,N) (VP (VBN been) passive(K)))
6*   vp(T,N,K) = (VP (VP action(T,N,K)) (CC and) (VP action(T,N,K)))
1*   vp(T,N,K) = (VP (VP action(T,N,K)) (CC but) (VP do(T,N) (RB not) (VP action(base,_,K))))
8    simple(T,N,K) = core(T,N,K)
2*   simple(T,N,K) = (VP action(T,N,K) subordinate(T))

# Verb phrases of any form F; those of "be" stand apart, since they take no "do"
3    core(F,N,K) = lexical(F,N,K)
1    core(F,N,K) = (VP copula(F,N,K))
13   lexical(F,N,K) = (VP action(F,N,K))
12   lexical(F,N,K) = (VP act(F,N,K) adjuncts(K))
3    lexical(F,N,K) = (VP motion(F,N,K) when())
12   lexical(F,N,K) = (VP state(F,N,K))
2*   lexical(base,_,K) = (VP (VP action(base,_,K)) (CC and) (VP action(base,_,K)))
4    action(F,N,K) = act(F,N,K)
1    action(F,N,K) = motion(F,N,K)

# A verb and its complements: actions, which take adjuncts; motion, which names a place already; states
7    act(F,N,K) = intr(F,N,K)
22   act(F,N,K) = tr(F,N,K,O) np(acc,_,O)
6    act(F,N,K) = ditr(F,N,K,O) np(acc,_,person) full(_,O)
5    act(F,N,K) = ditr(F,N,K,O) np(acc,_,O) (PP (TO to) np(acc,_,person))
6    act(F,N,K) = prepv(F,N,K,O,P) (PP prep(P) np(acc,_,O))
3    act(F,N,K) = part(F,N,K,O,P) (PRT (RP P)) full(_,O)
2    act(F,N,K) = part(F,N,K,O,P) np(acc,_,O) (PRT (RP P))
4    act(F,N,K) = tool(F,N,K,O,W) full(_,O) (PP (IN with) base(sg,W))
6    motion(F,N,K) = move(F,N,K) path(K)
3*   motion(F,N,person) = move(F,N,person) path(person) (S (VP (TO to) (VP act(base,_,person))))
3    motion(F,N,K) = stay(F,N,K) where(K)
2    motion(F,N,being) = stay(F,N,being) where(being) (PP (IN for) (NP (CD two) hours()))
4    motion(F,N,K) = put(F,N,K,O) np(acc,_,O) on()
12   copula(F,N,K) = be(F,N) adjp(K)
4    copula(F,N,K) = be(F,N) where_is(K)
3    state(F,N,K) = finite(F) link(F,N,K) adjp(K)
2    state(F,N,K) = finite(F) feels(F,N,K) adjp(K)
10   state(F,N,K) = stat(F,N,K,O) np(acc,_,O)
6*   state(F,N,K) = say(F,N,K) sequence(F,U) (SBAR (IN that) clause(U))
4*   state(F,N,K) = think(F,N,K) sequence(F,U) (SBAR (IN that) clause(U))
6*   state(F,N,K) = think(F,N,K) sequence(F,U) (SBAR clause(U))
3*   state(F,N,K) = told(F,N,K) np(acc,_,person) sequence(F,U) (SBAR (IN that) clause(U))
5*   state(F,N,K) = wonder(F,N,K) sequence(F,U) (SBAR (IN whether) clause(U))
5*   state(F,N,K) = wonder(F,N,K) sequence(F,U) (SBAR (WHADVP (WRB why)) clause(U))
3*   state(F,N,K) = wonder(F,N,K) sequence(F,U) (SBAR (WHADVP when_where()) (S np(nom,M,person) (VP act(U,M,person))))
3*   state(F,N,K) = wonder(F,N,K) sequence(F,U) (SBAR (WHNP ask_for(O)) (S np(nom,M,person) ^gap(U,M,person,O)))
6*   state(F,N,K) = aims(F,N,K) (S (VP (TO to) lexical(base,_,K)))
4*   state(F,N,K) = asks(F,N,K) np(acc,_,person) (S (VP (TO to) lexical(base,_,person)))
3*   state(F,N,K) = ger(F,N,K) (S (VP act(ing,_,K)))
1    finite(pres|past) = -
# The tense of a complement follows that of its verb
1    sequence(past|pp,past) = -
2    sequence(pres|base|ing,pres) = -
1    sequence(pres|base|ing,past) = -

# Passives of a subject of class O; the agent has class K
5    passive(O) = (VP ^tr(pp,_,K,O) setting(O))
5    passive(O) = (VP ^tr(pp,_,K,O) (PP (IN by) full(_,K)))
1    passive(O) = (VP ditr(pp,_,_,O) (PP (TO to) full(_,person)))
1    passive(O) = (VP put(pp,_,_,O) on())
1    passive(O) = (VP tool(pp,_,_,O,W) (PP (IN with) base(sg,W)))

# Verb phrases that lack their object, of class O
18   gap(T,N,K,O) = (VP ^gapped(T,N,K,O))
3    gap(T,_,K,O) = (VP modal(T) (VP ^gapped(base,_,K,O)))
3    gap(T,N,K,O) = (VP have(T,N) (VP ^gapped(pp,_,K,O)))
2    gap(T,N,K,O) = (VP be(T,N) (VP ^gapped(ing,_,K,O)))
16   gapped(F,N,K,O) = ^tr(F,N,K,O) when()
5    gapped(F,N,K,O) = stat(F,N,K,O)
3    gapped(F,N,K,O) = ^ditr(F,N,K,O) (PP (TO to) np(acc,_,person))
4    gapped(F,N,K,O) = ^prepv(F,N,K,O,P) (PP prep(P))
2    gapped(F,N,K,O) = ^put(F,N,K,O) on()
2    gapped(F,N,K,O) = ^part(F,N,K,O,P) (PRT (RP P))
2*   gapped(F,N,K,O) = aims(F,N,K) (S (VP (TO to) (VP ^gapped(base,_,K,O))))

# --- Noun phrases: case, number, class
20   np(C,N,K) = pronoun(C,N,K)
75   np(_,N,K) = full(N,K)
60   full(N,K) = base(N,K)
12   full(N,person) = known(N)
9*   full(N,K) = (NP base(N,K) of_noun(K))
7*   full(N,K) = (NP base(N,K) rel(N,K))
1    full(N,person) = (NP (NP name(person) (POS 's)) kin(N))
2*   full(sg,person) = (NP base(sg,person) (PP (IN in) (NP (DT the) colour() noun(sg,garment))))
4    full(N,K) = owned(K) (NP (NP owner() (POS 's)) ^noun_with(N,K))
3*   full(pl,K) = (NP base(_,K) (CC and) base(_,K))
3*   full(pl,person) = (NP known(_) (CC and) known(_))
1*   full(sg,person) = (NP base(sg,person) (CC or) base(sg,person))
9    full(sg,town) = (NP name(town))
3    known(sg) = (NP name(person))
2    known(N) = (NP my() kin(N))
2    light(N) = pronoun(nom,N,person)
1    light(N) = known(N)
2    owner() = name(person)
1    owner() = (DT the) noun(sg,person)

50   base(sg,K) = (NP one(K) modifiers(K) ^noun(sg,K))
20   base(pl,K) = (NP several(K) modifiers(K) ^noun(pl,K))
2    base(pl,K) = (NP adj(K,_) ^noun(pl,K))
9    base(sg,K) = (NP mass(K) modifiers(K) ^noun(mass,K))
4    base(sg,K) = (NP ^noun(mass,K))
3    noun_with(sg,K) = modifiers(K) ^noun(sg|mass,K)
2    noun_with(pl,K) = modifiers(K) ^noun(pl,K)
3    some(sg,K) = (NP (DT a) modifiers(K) ^noun(sg,K)) indefinite(K)
1    some(sg,K) = (NP (DT no) modifiers(K) ^noun(sg,K)) indefinite(K)
1    some(sg,K) = (NP (DT some) modifiers(K) ^noun(mass,K)) indefinite(K)
3    some(pl,K) = (NP number() modifiers(K) ^noun(pl,K)) indefinite(K)
1    indefinite(being|item|container|meal|drink|text|plant|vehicle) = -
1    be_role(sg|me) = (NP (DT a) modifiers(person) ^role(sg))
1    be_role(pl) = (NP modifiers(person) ^role(pl))

# Determiners and modifiers
50   one(_) = (DT the)
22   one(_) = (DT a)
12   one(K) = owned(K) my()
3    one(_) = (DT this)
2    one(_) = (DT that)
2    one(_) = (DT every)
1    one(_) = (DT another)
40   several(_) = (DT the)
12   several(K) = owned(K) my()
10   several(_) = number()
3    several(_) = (DT these)
2    several(_) = (DT those)
3    number() = (DT some)
2    number() = (JJ many)
1    number() = (JJ several)
3    number() = (CD two)
2    number() = (CD three)
1    number() = (CD four)
5    mass(_) = (DT the)
3    mass(_) = (DT some)
1    mass(K) = owned(K) my()
1    owned(animal|item|garment|container|surface|tool|music|text|vehicle|meal|drink|idea) = -
1    my() = (PRP$ my)
1    my() = (PRP$ your)
2    my() = (PRP$ his)
2    my() = (PRP$ her)
1    my() = (PRP$ our)
1    my() = (PRP$ their)
60   modifiers(_) = -
28   modifiers(K) = adj(K,_)
3    modifiers(K) = (ADJP (RB very) adj(K,_))
3    modifiers(made) = colour()
2    modifiers(K) = (ADJP adj(K,S) (CC and) adj(K,S))

# Pronouns; the lemma keeps "I saw me" out
3    pronoun(nom,me,person) = (NP (PRP I)) @I
1    pronoun(acc,me,person) = (NP (PRP me)) @I
4    pronoun(nom,sg,person) = (NP (PRP she)) @she
2    pronoun(acc,sg,person) = (NP (PRP her)) @she
4    pronoun(nom,sg,person) = (NP (PRP he)) @he
2    pronoun(acc,sg,person) = (NP (PRP him)) @he
3    pronoun(nom,pl,person) = (NP (PRP we)) @we
1    pronoun(acc,pl,person) = (NP (PRP us)) @we
4    pronoun(nom,pl,person) = (NP (PRP they)) @they
2    pronoun(acc,pl,person) = (NP (PRP them)) @they
2    pronoun(_,pl,person) = (NP (PRP you)) @you
1    pronoun(_,sg,animal|made|text|meal|drink|event|idea|plant) = (NP (PRP it)) @it
1    pronoun(acc,pl,animal|made|text|food|plant) = (NP (PRP them)) @they

# Relative clauses on a noun of number N and class K, or of class O if it is their object
4    rel(N,K) = tense(T) (SBAR (WHNP who(K)) (S vp(T,N,K)))
3*   rel(_,O) = tense(T) (SBAR (WHNP who(O)) (S np(nom,N,K) ^gap(T,N,K,O)))
3    rel(_,O) = tense(T) (SBAR (S light(N) gap(T,N,person,O)))
4    who(person) = (WP who)
1    who(person) = (WDT that)
3    who(animal|group|inert) = (WDT that)
1    who(animal|group|inert) = (WDT which)

# Prepositional phrases inside noun phrases
3    of_noun(person) = (PP (IN from) full(sg,town))
2    of_noun(person) = (PP (IN from) base(sg,area))
2    of_noun(person) = (PP (IN with) base(sg,container))
1    of_noun(person) = (PP (IN with) base(sg,lens))
1    of_noun(person) = (PP (IN with) base(_,animal))
3    of_noun(K) = outdoors(K) where(K)
1    outdoors(being|plant) = -
3    of_noun(item|food|text|garment|tool|music) = on()
3    of_noun(item|garment|text) = (PP (IN of) full(_,person))
6    of_noun(text|idea) = (PP (IN about) full(_,being|food|sky|plant))
2    of_noun(container) = (PP (IN of) (NP ^noun(pl,food|item)))
2    of_noun(room|spot|road) = (PP (IN in) full(sg,town))
4    of_noun(room|spot|road) = (PP near() base(sg,room|road|spot))
2    of_noun(event) = (PP (IN in) full(sg,room))

# Adjuncts of verb phrases
20   adjuncts(K) = setting(K)
4    adjuncts(_) = (ADVP lately())
8    adjuncts(being) = (ADVP manner())
2    adjuncts(being) = (ADVP (RB very) manner())
5    adjuncts(person) = (PP (IN with) np(acc,_,person))
3*   adjuncts(person) = (PP before() (S (VP act(ing,_,person))))
4    when() = -
1    when() = time()
1*   subordinate(T) = (SBAR (IN because) event(T))
1*   subordinate(T) = (SBAR (IN although) event(T))
1*   subordinate(T) = (SBAR (WHADVP (WRB when)) event(T))
1*   subordinate(T) = (SBAR (IN if) event(T))
1*   subordinate(past) = (SBAR before() event(past))
6    event(T) = (S topic(K) np(nom,N,K) simple(T,N,K))
1    event(T) = (S topic(K) np(nom,N,K) (VP be(T,N) core(ing,_,K)))
1    event(T) = (S topic(K) np(nom,N,K) (VP be(T,N) passive(K)))
8    setting(_) = time()
6    setting(K) = where(K)
2    setting(K) = where(K) time()
8    where(person|group|made|text|meal|drink|event|idea) = in_building()
5    where(located) = (PP (IN in) full(sg,area))
3    where(located) = (PP (IN on) full(sg,spot|road))
2    where(located) = (PP (IN in) full(sg,town))
3    where(located) = (PP near() full(sg,place))
4    in_building() = (PP (IN in) full(sg,building))
1    in_building() = (PP (IN in) full(pl,building))
1    where_is(K) = tangible(K) where(K)
1    tangible(being|made|text|meal|plant) = -
1    where_is(item|food|text|garment|tool|music) = on()
2    on() = (PP (IN on) base(sg,surface))
1    on() = (PP (IN under) base(sg,surface))
2    on() = (PP (IN in) base(sg,container|storage))
4    path(being) = (PP (TO to) full(sg,building))
2    path(being) = (PP (IN into) full(sg,building))
2    path(person|vehicle) = (PP (TO to) full(sg,area|town))
1    path(_) = (PP (IN through) full(sg,area))
2    path(_) = (PP across() full(sg,road))
1    path(being) = (PP (IN towards) full(_,being|place))
1    near() = (IN near)
1    near() = (IN behind)
1    near() = (IN beside)
1    across() = (IN across)
1    across() = (IN along)
1    before() = (IN before)
1    before() = (IN after)
5    time() = (PP (IN in) (NP (DT the) part_of_day())) @part_of_day
4    time() = (PP (IN on) (NP weekday())) @day
3    time() = (PP (IN at) (NP hour())) @part_of_day
4    time() = (PP during() full(_,event))
2    time() = (PP (IN in) (NP season())) @season
1    during() = (IN during)
1    during() = (IN after)
1    during() = (IN before)

# --- Adjective phrases that predicate of class K
9    adjp(K) = (ADJP adj(K,_))
4    adjp(K) = (ADJP degree() adj(K,_))
4    adjp(K) = (ADJP adj(K,S) (CC and) adj(K,S))
2    adjp(K) = (ADJP (ADJP strongly() adj(K,praise)) (CC but) (ADJP (RB rather) adj(K,blame)))
3    adjp(K) = (ADJP comparative(K) (PP (IN than) full(_,K)))
2    adjp(person) = (ADJP of_whom() (PP (IN of) np(acc,_,person)))
2*   adjp(person) = (ADJP ready() (S (VP (TO to) lexical(base,_,person))))
"""

# Closed classes: symbol, tag : words, each with weight 1.
WORDS = """
modal(pres)   MD  : can will may must should
modal(past)   MD  : could would might
often()       RB  : often always never sometimes usually rarely
opening()     RB  : suddenly finally perhaps soon later eventually
manner()      RB  : quietly slowly carefully happily quickly calmly patiently nervously
lately()      RB  : again today
degree()      RB  : very quite rather too so
strongly()    RB  : very quite
ease()        JJ  : easy hard important dangerous wonderful
of_whom()     JJ  : proud afraid fond tired jealous
ready()       JJ  : ready eager happy able free
when_where()  WRB : when where
part_of_day() NN  : morning afternoon evening
weekday()     NNP : Monday Tuesday Wednesday Thursday Friday Saturday Sunday
hour()        NN  : noon night midnight dawn
season()      NN  : spring summer autumn winter
hours()       NNS : hours days weeks years months
prep(at)      IN  : at
prep(for)     IN  : for
prep(about)   IN  : about
prep(of)      IN  : of
prep(with)    IN  : with
prep(on)      IN  : on
prep(after)   IN  : after
prep(to)      TO  : to
be(pres,sg)   VBZ : is
be(pres,pl)   VBP : are
be(past,sg|me) VBD : was
be(past,pl)   VBD : were
be(base,_)    VB  : be
be(pp,_)      VBN : been
do(pres,sg)   VBZ : does
do(pres,pl)   VBP : do
do(past,_)    VBD : did
have(pres,sg) VBZ : has
have(pres,pl) VBP : have
have(past,_)  VBD : had
"""

# The first person singular, rare where nothing else decides the number.
FIRST_PERSON = """
0.15 be(pres,me) = (VBP am)
0.15 do(pres,me) = (VBP do)
0.15 have(pres,me) = (VBP have)
"""


def word_rules() -> list[str]:
    """Return the closed classes as rule lines."""
    return [f"1 {head} = ({tag} {word})" for (head, tag), words in lexicon.table(WORDS) for word in words]


@cache
def grammar() -> dict[str, list[Rule]]:
    """Return the rules of the grammar and the lexicon by the symbol that they expand.

    Returns
    -------
    dict of str to list of Rule
        For each symbol its rules, in the order of their lines.
    """
    found: dict[str, list[Rule]] = {}
    text = RULES + FIRST_PERSON
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in [*lines, *word_rules(), *lexicon.rules()]:
        rule = parse_rule(line)
        found.setdefault(rule.name, []).append(rule)
    return found
