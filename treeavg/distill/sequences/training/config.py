"""What a distillation does at each step: a frozen set of options, checked as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.config_checks import BY_ROW, HALVED, KINDS, PREFIXES, require_config
from treeavg.distill.sequences.training.reward_options import RewardOptions

__all__ = ["KINDS", "PREFIXES", "DistillationConfig", "Part", "RewardOptions"]


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
    average : str, default "token"
        For several teachers: one of `averaging.AVERAGES`; or each row has one of them, see `config_checks.BY_ROW`: with
        "teacher_id" the one that its column names, with "min_ce" the one that gives its stored completion the highest
        probability, for which every teacher runs once more.
    ema_decay : float, optional
        For ``teachers="ema"``: what the moving average keeps at each update. Default: 0.999.
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
    ema_decay: float | None = None
    reward: RewardOptions | None = None
    reduction: str = "token"
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_config(self)

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
        return self.gold_weight > 0 or self.average == "min_ce" or (self.who != "student" and not self.fresh_teacher)

    @property
    def by_row(self) -> bool:
        """Whether each row has one of several teachers."""
        return self.average in BY_ROW

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
                matched = self.kind in HALVED and self.halves == "matched"
                weight = self.weight if matched else self.weight * share  # matched halves are weighed by b
                found.append(Part(source, weight, half if matched else "both", self.hidden_weight * share))
        if self.gold_weight:
            if found[0].source == "data":
                found[0] = found[0]._replace(gold=self.gold_weight)
            else:
                found.append(Part("data", gold=self.gold_weight))
        return tuple(part for part in found if part.weight or part.hidden or part.gold)

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
