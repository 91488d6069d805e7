"""Which options of a distillation go together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from treeavg.distill.sequences.ensembling.averaging import AVERAGES
from treeavg.distill.sequences.layers.hidden import NORMS
from treeavg.distill.sequences.layers.layers import STRATEGIES
from treeavg.distill.sequences.losses.forms import KINDS as DIVERGENCES
from treeavg.distill.sequences.losses.forms import form_of
from treeavg.distill.sequences.reductions import REDUCTIONS
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.reward_options import (
    RewardOptions,
    meaningless,
    require_flag,
    require_number,
    require_whole,
)
from treeavg.errors import ArgumentError, quote, unknown

if TYPE_CHECKING:
    from treeavg.distill.sequences.training.config import DistillationConfig

__all__ = ["BY_ROW", "HALVED", "KINDS", "PREFIXES", "require_config"]

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
HALVED = ("js", "tvd")
#: A line of help for how each row gets one of several teachers.
BY_ROW: dict[str, str] = {
    "teacher_id": "the one that its column of that name says",
    "min_ce": "the one with the least cross-entropy on its stored completion",
}
_WITHOUT_TEMPERATURE = ("hard", "sampled_rkl", "reward")


def require_config(config: DistillationConfig) -> None:
    """Raise an ArgumentError where an option is unknown, out of range, or means nothing beside the others.

    Parameters
    ----------
    config : DistillationConfig
        All options.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        It names the option.
    """
    _require_known(config)
    _require_loss(config)
    _require_prefixes(config)
    _require_added(config)


def _require_known(config: DistillationConfig) -> None:
    """Raise an ArgumentError for a name that is not known, or a number out of range."""
    names: tuple[tuple[str, Any], ...] = (
        ("kind", KINDS),
        ("halves", ("matched", "both")),
        ("layers", STRATEGIES),
        ("hidden_norm", NORMS),
        ("average", (*AVERAGES, *BY_ROW)),
        ("reduction", [name for name in REDUCTIONS if name != "none"]),
    )
    for name, known in names:
        if getattr(config, name) not in known:
            raise unknown(name, getattr(config, name), known)
    if config.prefixes is not None and config.prefixes not in PREFIXES:
        raise unknown("prefixes", config.prefixes, PREFIXES)
    for name in ("weight", "gold_weight", "hidden_weight"):
        require_number(name, getattr(config, name), 0, math.inf)
    if config.on_policy is not None:
        require_number("on_policy", config.on_policy, 0, 1)
    for name in ("generation_rows", "rows"):
        if getattr(config, name) is not None:
            require_whole(name, getattr(config, name), 1)
    require_whole("seed", config.seed, 0)
    if config.ema_decay is not None:
        require_number("ema_decay", config.ema_decay, 0, 1)
    for name in (
        "scale_by_temperature",
        "normalize",
        "score_function",
        "fresh_teacher",
        "drop_truncated",
        "include_last",
    ):
        require_flag(name, getattr(config, name))
    for name, kind in (("sampler", Sampler), ("reward", RewardOptions)):
        value = getattr(config, name)
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(
                f"{name}: expected {kind.__name__}(...) or None, got {quote(value)}. Import it from "
                "treeavg.distill.sequences."
            )


def _require_loss(config: DistillationConfig) -> None:
    """Raise an ArgumentError where options of the loss do not fit its kind."""
    shape = {name: getattr(config, name) for name in _SHAPE}
    if config.kind in DIVERGENCES:
        form_of(config.kind, half="both", **shape)
    else:
        for name, value in shape.items():
            default = config.__dataclass_fields__[name].default
            if value != default:
                raise meaningless(name, value, default, f"{config.kind!r} compares no laws")
    if config.kind not in HALVED and config.halves != "matched":
        raise meaningless("halves", config.halves, "matched", f"{config.kind!r} has none: js and tvd have")
    if config.reward is not None and config.kind != "reward":
        raise meaningless("reward", config.reward, None, f"{config.kind!r} has no rewards")
    if config.score_function and (config.kind in _WITHOUT_TEMPERATURE or config.who == "stored"):
        raise meaningless("score_function", True, False, "it is for divergences on the student's completions")
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
            f"prefixes: expected {only!r} for {config.kind!r}, got {config.who!r}. Leave it out or use a divergence."
        )
    if config.who == "coin" and config.kind in HALVED and config.halves == "matched":
        raise ArgumentError(
            f"halves: expected 'both' for {config.kind!r} with prefixes='coin', got 'matched': its halves need both "
            "kinds of completions at each step. Give halves='both', or prefixes='both'."
        )
    if config.on_policy is not None and not (
        config.who == "coin" or (config.who == "both" and (config.kind not in HALVED or config.halves == "both"))
    ):
        why = "matched halves are weighed by student_weight" if config.who == "both" else f"prefixes={config.who!r}"
        raise meaningless("on_policy", config.on_policy, None, why)
    if config.fresh_teacher and config.who == "student":
        raise meaningless("fresh_teacher", True, False, "prefixes='student'")
    if not config.generates:
        for name in ("sampler", "generation_rows"):
            if getattr(config, name) is not None:
                raise meaningless(name, getattr(config, name), None, "nothing is generated with prefixes='stored'")


def _require_added(config: DistillationConfig) -> None:
    """Raise an ArgumentError where options of what is added to the loss mean nothing."""
    if not config.hidden_weight:
        for name, default in (("layers", "forward"), ("include_last", False), ("hidden_norm", "none")):
            if getattr(config, name) != default:
                raise meaningless(name, getattr(config, name), default, "hidden_weight is 0")
    if config.gold_weight and config.kind == "hard" and not config.fresh_teacher:
        raise meaningless("gold_weight", config.gold_weight, 0.0, "'hard' is that likelihood already")
    if not config.weight and not config.gold_weight and not config.hidden_weight:
        raise ArgumentError("weight: expected some weight above 0, got 0 for all. Nothing would be learned.")


_FLAGS = (
    "scale_by_temperature",
    "normalize",
    "score_function",
    "fresh_teacher",
    "drop_truncated",
    "include_last",
)
_SHAPE = (
    "student_weight",
    "mixture",
    "temperature",
    "teacher_temperature",
    "scale_by_temperature",
    "normalize",
)
