"""Published settings of distillations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions

__all__ = ["PRESETS"]


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
#: its count of tokens, which was each batch's own; "pre-distill" is what comes before it; "gkd" is GKD's default,
#: "on-policy" that of its successor. "neurips2022" are those of the induced reward's released code, but for its
#: ratio of a token's chance to a prefix's, which is neither of `reward.IMPORTANCE`.
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
            reward=RewardOptions(value="mean", centre=True, importance="token", penalty="uniform", sync=5000),
        ),
    }
)
