"""What a distillation does at each step: a frozen set of options, checked as a whole, and presets of published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from treeavg.distill.sequences.divergences import KINDS as DIVERGENCES
from treeavg.distill.sequences.divergences import form_of
from treeavg.distill.sequences.ensembling.averaging import AVERAGES
from treeavg.distill.sequences.hidden import NORMS
from treeavg.distill.sequences.induction import VALUES
from treeavg.distill.sequences.layers import STRATEGIES
from treeavg.distill.sequences.reductions import REDUCTIONS
from treeavg.distill.sequences.reward import BASELINES, IMPORTANCE, REGULARISERS
from treeavg.distill.sequences.samplers import Sampler
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["KINDS", "PREFIXES", "PRESETS", "DistillationConfig", "Part", "RewardOptions"]

#: A line of help for each loss, and whose completions it is on by default.
KINDS: dict[str, tuple[str, str]] = {
    **{name: (text, "stored" if side == "teacher" else side) for name, (text, side) in DIVERGENCES.items()},
    "hard": ("-log q of the stored completions: SeqKD on a teacher's, maximum likelihood on gold ones", "stored"),
    "sampled_rkl": ("rkl from the sampled tokens alone", "student"),
    "reward": ("policy gradient with the rewards that the teacher's logits imply", "student"),
}
#: A line of help for who writes the completions that the loss is on.
PREFIXES: dict[str, str] = {
    "stored": "those of the data set, or fresh ones of the teacher",
    "student": "fresh ones of the student",
    "both": "both at each step",
    "coin": "the one or the other, by a coin for each step",
}
_HALVED = ("js", "tvd")
_WITHOUT_TEMPERATURE = ("hard", "sampled_rkl", "reward")


class Part(NamedTuple):
    """Completions of one source in a step, and what they count for.

    Parameters
    ----------
    source : {"data", "teacher", "student"}
        Who wrote them.
    weight : float
        Multiplies the loss between teacher and student.
    half : {"both", "teacher", "student"}
        Which half of it, as for `sequence_loss`.
    hidden : float
        Multiplies the loss between hidden states.
    gold : float
        Multiplies their negative log-likelihood.
    """

    source: str
    weight: float = 0.0
    half: str = "both"
    hidden: float = 0.0
    gold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """Options of the kind "reward"; the defaults are those of the theory.

    Parameters
    ----------
    value : str, default "max"
        One of `induction.VALUES`.
    centre : bool, default False
        Subtract the mean of each prefix's logits first.
    baseline : {"value", "none"}, default "value"
        One of `reward.BASELINES`; there is one completion for each prompt.
    scale : float, default 100.0
        Divides what a completion gains.
    sparse : bool, default False
        One gain for all tokens of a completion.
    importance : {"token", "prefix"}, optional
        Weigh tokens by the student's law over the sampler's, one of `reward.IMPORTANCE`; for samplers that are not
        exact. Default: not at all.
    clip : float, optional, default 1.0
        Weights are kept between -clip and clip.
    penalty : {"uniform", "entropy"}, optional
        One of `reward.REGULARISERS`. Default: none.
    penalty_weight : float, default 0.1
        Multiplies the penalty.

    Raises
    ------
    ArgumentError
        An unknown value or a number out of range.

    Examples
    --------
    >>> RewardOptions(value="lse").scale
    100.0
    """

    value: str = "max"
    centre: bool = False
    baseline: str = "value"
    scale: float = 100.0
    sparse: bool = False
    importance: str | None = None
    clip: float | None = 1.0
    penalty: str | None = None
    penalty_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.value not in VALUES:
            raise unknown("value", self.value, VALUES)
        known = [name for name in BASELINES if name != "leave_one_out"]  # that needs several samples of a prompt
        if self.baseline not in known:
            raise unknown("baseline", self.baseline, known)
        if self.importance is not None and self.importance not in IMPORTANCE:
            raise unknown("importance", self.importance, IMPORTANCE)
        if self.penalty is not None and self.penalty not in REGULARISERS:
            raise unknown("penalty", self.penalty, REGULARISERS)
        _require_number("scale", self.scale, 0, math.inf, above=True)
        if self.clip is not None:
            _require_number("clip", self.clip, 0, math.inf, above=True)
        if self.penalty is None and self.penalty_weight != 0.1:
            raise _meaningless("penalty_weight", self.penalty_weight, 0.1, "there is no penalty")
        _require_number("penalty_weight", self.penalty_weight, 0, math.inf)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """What a student learns from its teachers at each step. An option that nothing uses is refused.

    Parameters
    ----------
    kind : str, default "js"
        One of `KINDS`.
    prefixes : str, optional
        One of `PREFIXES`. Default: what the kind's exact sum is over, see `KINDS`.
    halves : {"matched", "both"}, default "matched"
        For js and tvd: on the teacher's completions the teacher's half and on the student's the student's, as f-distill
        does; or both halves on all completions, as GKD does, which a coin needs.
    student_weight : float, default 0.5
        For js, gjsd and tvd: the student's share b. GKD's beta is 1 - b.
    mixture : {"token", "prefix"}, default "token"
        For js: as for `sequence_loss`.
    temperature : float, default 1.0
        Divides the logits in the loss; that of sampling is the sampler's.
    teacher_temperature : float, optional
        Divides the teacher's in its place.
    scale_by_temperature : bool, default False
        As for `sequence_loss`.
    normalize : bool, default False
        For gjsd: as for `sequence_loss`.
    score_function : bool, default False
        Add what the student's choice of tokens adds to the gradient, on its own completions.
    on_policy : float, optional
        For prefixes "coin": the chance of the student's completions. For "both", where halves are not matched: their
        share in the loss. Default: 0.5.
    fresh_teacher : bool, default False
        Let the teacher write new completions at each step, in place of the stored ones.
    sampler : Sampler, optional
        How completions are written. Default: exact sampling of at most 64 tokens.
    generation_rows : int, optional
        Most prompts in a call that generates. Default: all of a step. What is sampled depends on it.
    drop_truncated : bool, default False
        Completions without an end token do not count. Their share is logged either way.
    weight : float, default 1.0
        Multiplies the loss of this kind.
    gold_weight : float, default 0.0
        Multiplies the negative log-likelihood of the stored completions, which is added.
    hidden_weight : float, default 0.0
        Multiplies the squared distance of hidden states, which is added: of the decoder, and of the encoder if any.
    layers : str, default "forward"
        One of `layers.STRATEGIES`: which layers those are.
    include_last : bool, default False
        Match the student's last layer too.
    hidden_norm : {"none", "l2", "ln"}, default "none"
        One of `hidden.NORMS`.
    average : {"token", "prefix", "geometric"}, default "token"
        For several teachers: one of `averaging.AVERAGES`.
    reward : RewardOptions, optional
        For the kind "reward". Default: its defaults.
    reduction : {"token", "sequence", "sequence_mean"}, default "token"
        As for `reduce`; what it divides by is counted over all batches and processes of a step.
    rows : int, optional
        Compute the loss from hidden states, this many positions at a time, and never hold all logits. Default: from
        logits.
    seed : int, default 0
        Of sampling, of the coin, of layers drawn by chance and of maps between widths.

    Raises
    ------
    ArgumentError
        An unknown value, a number out of range, or an option that nothing uses.

    Examples
    --------
    >>> [part.source for part in DistillationConfig(kind="tvd").parts()]
    ['data', 'student']
    >>> DistillationConfig(kind="kl").parts()
    (Part(source='data', weight=1.0, half='both', hidden=0.0, gold=0.0),)
    """

    kind: str = "js"
    prefixes: str | None = None
    halves: str = "matched"
    student_weight: float = 0.5
    mixture: str = "token"
    temperature: float = 1.0
    teacher_temperature: float | None = None
    scale_by_temperature: bool = False
    normalize: bool = False
    score_function: bool = False
    on_policy: float | None = None
    fresh_teacher: bool = False
    sampler: Sampler | None = None
    generation_rows: int | None = None
    drop_truncated: bool = False
    weight: float = 1.0
    gold_weight: float = 0.0
    hidden_weight: float = 0.0
    layers: str = "forward"
    include_last: bool = False
    hidden_norm: str = "none"
    average: str = "token"
    reward: RewardOptions | None = None
    reduction: str = "token"
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _require_known(self)
        _require_loss(self)
        _require_prefixes(self)
        _require_added(self)

    @property
    def who(self) -> str:
        """`prefixes`, or the kind's own."""
        return KINDS[self.kind][1] if self.prefixes is None else self.prefixes

    @property
    def share(self) -> float:
        """`on_policy`, or its default."""
        return 0.5 if self.on_policy is None else self.on_policy

    @property
    def how(self) -> Sampler:
        """`sampler`, or its default."""
        return Sampler() if self.sampler is None else self.sampler

    @property
    def generates(self) -> bool:
        """Whether completions are written during training."""
        return self.who != "stored" or self.fresh_teacher

    @property
    def needs_teacher(self) -> bool:
        """Whether there must be one."""
        return self.kind != "hard" or self.hidden_weight > 0 or self.fresh_teacher

    @property
    def needs_completions(self) -> bool:
        """Whether the data set must have them."""
        return self.gold_weight > 0 or (self.who != "student" and not self.fresh_teacher)

    def parts(self, on_policy: bool | None = None) -> tuple[Part, ...]:
        """Return the completions of a step.

        Parameters
        ----------
        on_policy : bool, optional
            For prefixes "coin": how it fell. Default: what is to be expected, both sources by their chances.

        Returns
        -------
        tuple of Part
            Each source once.

        Examples
        --------
        >>> DistillationConfig(kind="rkl", prefixes="coin").parts(True)[0].source
        'student'
        """
        first = "teacher" if self.fresh_teacher else "data"
        shares = {"stored": (1.0, 0.0), "student": (0.0, 1.0)}.get(self.who, (1 - self.share, self.share))
        if self.who == "coin" and on_policy is not None:
            shares = (0.0, 1.0) if on_policy else (1.0, 0.0)
        found = []
        for source, half, share in ((first, "teacher", shares[0]), ("student", "student", shares[1])):
            if share:
                matched = self.kind in _HALVED and self.halves == "matched"
                weight = self.weight if matched else self.weight * share  # matched halves are weighed by b
                found.append(Part(source, weight, half if matched else "both", self.hidden_weight * share))
        if self.gold_weight:
            if found[0].source == "data":
                found[0] = found[0]._replace(gold=self.gold_weight)
            else:
                found.append(Part("data", gold=self.gold_weight))
        return tuple(found)

    def document(self) -> dict[str, Any]:
        """Return the options as numbers, texts and dictionaries, for a JSON file beside a checkpoint.

        Returns
        -------
        dict

        Examples
        --------
        >>> DistillationConfig(sampler=Sampler("greedy")).document()["sampler"]["kind"]
        'greedy'
        """
        return asdict(self)


def _require_known(config: DistillationConfig) -> None:
    """Raise an ArgumentError for a name that is not known, or a number out of range."""
    names: tuple[tuple[str, Any], ...] = (
        ("kind", KINDS),
        ("halves", ("matched", "both")),
        ("layers", STRATEGIES),
        ("hidden_norm", NORMS),
        ("average", AVERAGES),
        ("reduction", [name for name in REDUCTIONS if name != "none"]),
    )
    for name, known in names:
        if getattr(config, name) not in known:
            raise unknown(name, getattr(config, name), known)
    if config.prefixes is not None and config.prefixes not in PREFIXES:
        raise unknown("prefixes", config.prefixes, PREFIXES)
    for name in ("weight", "gold_weight", "hidden_weight"):
        _require_number(name, getattr(config, name), 0, math.inf)
    if config.on_policy is not None:
        _require_number("on_policy", config.on_policy, 0, 1)
    for name in ("generation_rows", "rows"):
        if getattr(config, name) is not None:
            _require_whole(name, getattr(config, name), 1)
    _require_whole("seed", config.seed, 0)


def _require_loss(config: DistillationConfig) -> None:
    """Raise an ArgumentError where options of the loss do not fit its kind."""
    shape = {name: getattr(config, name) for name in _SHAPE}
    if config.kind in DIVERGENCES:
        form_of(config.kind, half="both", **shape)
    else:
        for name, value in shape.items():
            default = DistillationConfig.__dataclass_fields__[name].default
            if value != default:
                raise _meaningless(name, value, default, f"{config.kind!r} compares no laws")
    if config.kind not in _HALVED and config.halves != "matched":
        raise _meaningless("halves", config.halves, "matched", f"{config.kind!r} has none: js and tvd have")
    if config.reward is not None and config.kind != "reward":
        raise _meaningless("reward", config.reward, None, f"{config.kind!r} has no rewards")
    if config.score_function and (config.kind in _WITHOUT_TEMPERATURE or config.who == "stored"):
        raise _meaningless("score_function", True, False, "it is for divergences on the student's completions")
    if config.rows is not None:
        unfit = {
            "kind": config.kind not in DIVERGENCES,
            "mixture": config.mixture == "prefix",
            "score_function": config.score_function,
            "hidden_weight": config.hidden_weight > 0,
            "gold_weight": config.gold_weight > 0,
        }
        for name in (name for name, wrong in unfit.items() if wrong):
            raise ArgumentError(
                f"rows: expected None with {name}={quote(getattr(config, name))}, which needs logits, got "
                f"{config.rows}. Leave rows out."
            )


def _require_prefixes(config: DistillationConfig) -> None:
    """Raise an ArgumentError where who writes completions does not fit the loss, or nothing is written."""
    only = {"hard": "stored", "sampled_rkl": "student", "reward": "student"}.get(config.kind)
    if only is not None and config.who != only:
        raise ArgumentError(
            f"prefixes: expected {only!r} for {config.kind!r}, got {config.who!r}. Leave it out, or choose a divergence."
        )
    if config.who == "coin" and config.kind in _HALVED and config.halves == "matched":
        raise ArgumentError(
            f"halves: expected 'both' for {config.kind!r} with prefixes='coin', got 'matched': its halves need both "
            "kinds of completions at each step. Give halves='both', or prefixes='both'."
        )
    if config.on_policy is not None and not (
        config.who == "coin" or (config.who == "both" and (config.kind not in _HALVED or config.halves == "both"))
    ):
        why = "matched halves are weighed by student_weight" if config.who == "both" else f"prefixes={config.who!r}"
        raise _meaningless("on_policy", config.on_policy, None, why)
    if config.fresh_teacher and config.who == "student":
        raise _meaningless("fresh_teacher", True, False, "prefixes='student'")
    if not config.generates:
        for name in ("sampler", "generation_rows"):
            if getattr(config, name) is not None:
                raise _meaningless(name, getattr(config, name), None, "nothing is generated with prefixes='stored'")


def _require_added(config: DistillationConfig) -> None:
    """Raise an ArgumentError where options of what is added to the loss mean nothing."""
    if not config.hidden_weight:
        for name, default in (("layers", "forward"), ("include_last", False), ("hidden_norm", "none")):
            if getattr(config, name) != default:
                raise _meaningless(name, getattr(config, name), default, "hidden_weight is 0")
    if config.gold_weight and config.kind == "hard" and not config.fresh_teacher:
        raise _meaningless("gold_weight", config.gold_weight, 0.0, "'hard' is that likelihood already")
    if not config.weight and not config.gold_weight and not config.hidden_weight:
        raise ArgumentError("weight: expected some weight above 0, got 0 for all. Nothing would be learned.")


_SHAPE = (
    "student_weight",
    "mixture",
    "temperature",
    "teacher_temperature",
    "scale_by_temperature",
    "normalize",
)


def _meaningless(where: str, value: object, default: object, why: str) -> ArgumentError:
    return ArgumentError(f"{where}: expected {default!r}, as {why}, got {quote(value)}. Leave it out.")


def _require_number(where: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        span = f"{'above' if above else 'from'} {low:g}" + ("" if high == math.inf else f" to {high:g}")
        raise ArgumentError(f"{where}: expected a number {span}, got {quote(value)}. Leave it out for the default.")


def _require_whole(where: str, value: object, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ArgumentError(
            f"{where}: expected a whole number, at least {low}, got {quote(value)}. Leave it out for the default."
        )


def _acl2023() -> dict[str, DistillationConfig]:
    """Return the settings of f-distill's released code for data-to-text (DART)."""
    sampler = Sampler("beam-sample", beams=6, top_k=30)
    of_student = {"prefixes": "student", "sampler": sampler}
    made: dict[str, dict[str, Any]] = {
        "hard": {},
        "kl": {"fresh_teacher": True, "sampler": sampler},
        "engine": {"prefixes": "student", "sampler": Sampler("greedy")},
        "rkl": of_student,
        "js": {"student_weight": 0.85, "sampler": sampler},
        "tvd": {"sampler": sampler},
    }
    return {f"acl2023-{kind}": DistillationConfig(kind=kind, **options) for kind, options in made.items()}


#: Published settings; change one with ``dataclasses.replace``. "acl2023-..." are those of f-distill for DART, but for
#: its count of tokens, which was each batch's own; "pre-distill" is what comes before it; "gkd" is GKD's default, and
#: "on-policy" that of its successor; "neurips2022" are those of the induced reward's released code, but for its behaviour
#: policy, which was a copy of the student from some updates ago.
PRESETS: Mapping[str, DistillationConfig] = MappingProxyType(
    {
        "pre-distill": DistillationConfig(
            kind="kl", scale_by_temperature=True, weight=0.8, gold_weight=0.2, hidden_weight=3.0, layers="copied"
        ),
        **_acl2023(),
        "gkd": DistillationConfig(
            kind="gjsd", prefixes="coin", on_policy=0.5, sampler=Sampler(temperature=0.9, max_new_tokens=128)
        ),
        "on-policy": DistillationConfig(
            kind="rkl", prefixes="student", sampler=Sampler(top_p=0.95, max_new_tokens=512)
        ),
        "neurips2022": DistillationConfig(
            kind="reward",
            sampler=Sampler(top_k=2),
            reward=RewardOptions(value="mean", centre=True, importance="token", penalty="uniform"),
        ),
    }
)
