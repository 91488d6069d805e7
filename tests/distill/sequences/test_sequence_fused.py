"""Losses from hidden states: equal to the dense ones in value and every gradient; heads of several models; refusals."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor, nn

from treeavg.distill.sequences.align import align, completions, prompts
from treeavg.distill.sequences.losses.divergences import KINDS, prefix_log_odds, sequence_loss
from treeavg.distill.sequences.losses.fused import Head, fused_loss, head_of, require_head
from treeavg.errors import ArgumentError

VARIANTS = [
    *((kind, {}) for kind in KINDS),
    ("js", {"half": "teacher", "student_weight": 0.3}),
    ("js", {"half": "student", "temperature": 2.0, "scale_by_temperature": True}),
    ("gjsd", {"student_weight": 1.0}),
    ("gjsd", {"student_weight": 0.2, "normalize": True}),
    ("kl", {"temperature": 1.5, "teacher_temperature": 0.7}),
    ("rkl", {"score_function": True}),
    ("js", {"mixture": "prefix"}),
]  # fmt: skip
REDUCED = [
    {}, {"reduction": "sequence"}, {"reduction": "sequence_mean"}, {"reduction": "none"},
    {"n_items": 40, "world_size": 2},
]  # fmt: skip


class Case:
    """Random hidden states (B, T, H), heads over V tokens, and a mask with one row without any position."""

    def __init__(
        self, seed: int = 0, *, softcap: float | None = 3.0, bias: bool = True, dtype: torch.dtype = torch.float64
    ):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.hidden, self.teacher = draw(4, 5, 6).requires_grad_(), draw(4, 5, 3)
        self.weight, self.bias = draw(11, 6).requires_grad_(), draw(11).requires_grad_() if bias else None
        self.student_head = Head(self.weight, self.bias, scale=0.7, softcap=softcap)
        self.teacher_head = Head(draw(11, 3), draw(11), scale=1.3, softcap=None if softcap is None else 5.0)
        self.mask = torch.rand(4, 5, generator=generator) < 0.6
        self.mask[2] = False
        self.ids = torch.randint(11, (4, 5), generator=generator)
        self.odds = draw(4, 5).requires_grad_()

    def options(self, options: dict) -> dict:
        found = dict(options)
        if options.get("score_function"):
            found["ids"] = self.ids
        if options.get("mixture"):
            found["prefix_log_odds"] = self.odds
        return found

    def leaves(self) -> list[Tensor]:
        return [leaf for leaf in (self.hidden, self.weight, self.bias, self.odds) if leaf is not None]

    def dense(self, kind: str, **options: object) -> Tensor:
        teacher, student = self.teacher_head.logits(self.teacher), self.student_head.logits(self.hidden)
        return sequence_loss(kind, teacher, student, self.mask, **options)

    def fused(self, kind: str, **options: object) -> Tensor:
        return fused_loss(kind, self.hidden, self.student_head, self.teacher, self.teacher_head, self.mask, **options)


def assert_same(one: Tensor, other: Tensor, case: Case, tolerance: float = 1e-10) -> None:
    """Values and gradients, of a sum with unequal weights where they are many."""
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    ramp = torch.arange(1, one.numel() + 1, dtype=one.dtype).view(one.shape)
    found, wanted = (
        torch.autograd.grad((loss * ramp).sum(), case.leaves(), allow_unused=True, retain_graph=True)
        for loss in (one, other)
    )
    for leaf, slope, twin in zip(case.leaves(), found, wanted, strict=True):
        zero = torch.zeros_like(leaf)
        torch.testing.assert_close(
            zero if slope is None else slope, zero if twin is None else twin, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
@pytest.mark.parametrize("reduced", REDUCED)
def test_equals_the_dense_loss(kind: str, options: dict, reduced: dict) -> None:
    """H.9.2, soft caps, scales and biases on, a masked row within."""
    case = Case(1)
    chosen = {**case.options(options), **reduced}
    assert_same(case.fused(kind, **chosen), case.dense(kind, **chosen), case)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_any_number_of_rows(rows: int, bias: bool, softcap: float | None) -> None:
    case = Case(2, bias=bias, softcap=softcap)
    for kind in KINDS:
        assert_same(case.fused(kind, rows=rows), case.dense(kind), case)


def test_all_masked() -> None:
    case = Case(3)
    case.mask[:] = False
    for kind in KINDS:
        for reduction in ("token", "none"):
            loss = case.fused(kind, reduction=reduction).sum()
            assert loss.item() == 0
            slopes = torch.autograd.grad(loss, [case.hidden, case.weight, case.bias])
            assert all(float(slope.abs().sum()) == 0 for slope in slopes)


def test_masked_states_may_hold_anything() -> None:
    case = Case(4)
    want = case.dense("js")
    with torch.no_grad():
        case.hidden[~case.mask] = math.nan
        case.teacher[~case.mask] = math.inf
    loss = case.fused("js")
    assert loss.item() == pytest.approx(want.item(), abs=1e-12)
    assert all(bool(slope.isfinite().all()) for slope in torch.autograd.grad(loss, [case.hidden, case.weight]))


def test_backward_twice_and_scaled() -> None:
    """The early gradient may be used again, and by any factor."""
    case = Case(5)
    loss = case.fused("kl")
    first = torch.autograd.grad(3 * loss, case.weight, retain_graph=True)[0]
    second = torch.autograd.grad(loss, case.weight, retain_graph=True)[0]
    third = torch.autograd.grad(loss, case.weight)[0]
    torch.testing.assert_close(first, 3 * second, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second, third, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert case.fused("kl").item() == pytest.approx(loss.item(), abs=1e-14)
    assert not case.teacher.requires_grad


def test_nothing_flows_to_the_teacher() -> None:
    case = Case(6)
    case.teacher.requires_grad_()
    case.teacher_head.weight.requires_grad_()
    case.fused("js").backward()
    assert case.teacher.grad is None
    assert case.teacher_head.weight.grad is None
    assert case.hidden.grad is not None


def test_low_precision() -> None:
    """Products in bfloat16, laws in float32, as the dense loss of such logits; autocast does not step in."""
    case = Case(7, dtype=torch.bfloat16)
    case.student_head, case.teacher_head = (
        head._replace(scale=1.0, softcap=None) for head in (case.student_head, case.teacher_head)
    )
    for enabled in (False, True):
        with torch.autocast("cpu", enabled=enabled):
            loss = case.fused("js")
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, case.dense("js"), rtol=1e-5, atol=1e-6)
        slope = torch.autograd.grad(loss, case.weight, retain_graph=True)[0]
        twin = torch.autograd.grad(case.dense("js"), case.weight)[0]
        assert slope.dtype == torch.bfloat16
        torch.testing.assert_close(slope, twin, rtol=0.1, atol=5e-3)


def test_float16_under_a_loss_scale() -> None:
    """Each gradient of the logits is below what float16 holds, and the scale above: they meet in float32."""
    generator = torch.Generator().manual_seed(0)
    hidden, teacher = (torch.randn(2, 8, 4, generator=generator).half() for _ in range(2))
    weight = torch.randn(3000, 4, generator=generator).half()
    mask = torch.ones(2, 8, dtype=torch.bool)
    found = []
    for dtype in (torch.float16, torch.float64):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight)]
        constant = Head(weight.to(dtype))
        loss = fused_loss("kl", leaves[0], Head(leaves[1]), teacher.to(dtype), constant, mask, n_items=1e6)
        found.append(torch.autograd.grad(loss * 65536.0, leaves))
    for low, exact in zip(*found, strict=True):
        assert low.dtype == torch.float16
        assert bool(low.isfinite().all())
        assert float((low.double() - exact).norm() / exact.norm()) < 0.01


def test_gradients_that_nobody_wants() -> None:
    """A frozen head costs neither its gradient's product nor its memory; the other gradients are the same."""
    case = Case(9)
    both = torch.autograd.grad(case.fused("js"), [case.hidden, case.bias])
    case.weight.requires_grad_(False)
    for reduction in ("token", "sequence"):
        loss = case.fused("js", reduction=reduction)
        assert loss.grad_fn.slopes.weight is None
    slopes = torch.autograd.grad(case.fused("js"), [case.hidden, case.bias])
    assert all(torch.equal(one, other) for one, other in zip(slopes, both, strict=True))
    with torch.no_grad():
        assert case.fused("js").item() == pytest.approx(loss.item() * 4 / int(case.mask.sum()), abs=1e-12)


@pytest.mark.parametrize("elements", [1, 25, 40])
def test_few_rows_at_a_time(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its products the loss takes as many rows as a block has elements for: 1, 2 or 3 of a vocabulary of 11."""
    monkeypatch.setattr("treeavg.distill.sequences.losses.rows.CPU_ELEMENTS", elements)
    case = Case(10)
    for kind, options in VARIANTS:
        assert_same(case.fused(kind, rows=5, **case.options(options)), case.dense(kind, **case.options(options)), case)


def test_strides_and_inputs() -> None:
    """Hidden states and weights may have any strides; nothing that is given is changed."""
    plain = Case(11)
    want = torch.autograd.grad(plain.fused("js", rows=3), [plain.hidden, plain.weight])
    case = Case(11)
    case.hidden = plain.hidden.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    case.teacher = torch.cat([plain.teacher, plain.teacher], 1)[:, :5]
    case.weight = plain.weight.detach().T.contiguous().T.requires_grad_()
    case.student_head = case.student_head._replace(weight=case.weight)
    given = (case.hidden, case.teacher, case.weight, case.bias, case.teacher_head.weight, case.mask)
    copies = [tensor.detach().clone() for tensor in given]
    slopes = torch.autograd.grad(case.fused("js", rows=3), [case.hidden, case.weight])
    for slope, twin in zip(slopes, want, strict=True):
        torch.testing.assert_close(slope, twin, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given, copies, strict=True))


def test_weight_of_another_type() -> None:
    """Hidden states of autocast in bfloat16, the head's weight in float32."""
    case = Case(8, dtype=torch.float32, softcap=None)
    hidden = case.hidden.detach().bfloat16().requires_grad_()
    loss = fused_loss("kl", hidden, case.student_head, case.teacher.bfloat16(), case.teacher_head, case.mask)
    loss.backward()
    assert hidden.grad.dtype == torch.bfloat16
    assert case.weight.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(case.dense("kl").item(), rel=0.1)


# ------------------------------------------------------------------ models


def family(name: str) -> nn.Module:
    """A tiny model of a family that does something to its logits."""
    import transformers

    torch.manual_seed(0)
    size = {
        "vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0,
    }  # fmt: skip
    special = {
        "Llama": {}, "Gemma2": {"final_logit_softcapping": 0.05}, "Cohere": {"logit_scale": 0.25},
        "Granite": {"logits_scaling": 4.0},
    }  # fmt: skip
    if name in special:
        config = getattr(transformers, f"{name}Config")(**size, **special[name])
        model = getattr(transformers, f"{name}ForCausalLM")(config)
    elif name == "Bart":
        config = transformers.BartConfig(
            vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, pad_token_id=0,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, eos_token_id=1, bos_token_id=2,
            decoder_start_token_id=1, forced_eos_token_id=1, max_position_embeddings=32,
        )  # fmt: skip
        model = transformers.BartForConditionalGeneration(config)
        model.final_logits_bias.normal_()
    else:
        model = {"gpt2": tiny_causal, "t5": tiny_seq2seq}[name]()
    return model.eval()


FAMILIES = ("gpt2", "t5", "Bart", "Llama", "Gemma2", "Cohere", "Granite")


def inputs_of(model: nn.Module) -> tuple:
    side = "right" if model.config.is_encoder_decoder else "left"
    return prompts([[5, 6, 7], [8]], pad=0, side=side), completions(torch.tensor([[3, 4, 9], [2, 1, 1]]), [1])


@pytest.mark.parametrize("name", FAMILIES)
def test_heads_of_models(name: str) -> None:
    """Scales, bounds and biases of families are found: the head gives the model's own logits, and their gradients."""
    model = family(name)
    batch, targets = inputs_of(model)
    require_head(model, batch, targets, tolerance=1e-5)
    plain = align(model, batch, targets)
    teacher = torch.randn(plain.scores.shape, generator=torch.Generator().manual_seed(0))
    dense = sequence_loss("js", teacher, plain.scores, plain.mask)
    dense.backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    hidden = align(model, batch, targets, output="hidden").scores
    identity = Head(torch.eye(20))
    loss = fused_loss("js", hidden, head_of(model), teacher, identity, targets.mask, rows=2)
    loss.backward()
    assert loss.item() == pytest.approx(dense.item(), abs=1e-6)
    for key, weight in model.named_parameters():
        if key in wanted:
            torch.testing.assert_close(weight.grad, wanted[key], rtol=1e-4, atol=1e-6)


def test_prefix_odds_from_a_model() -> None:
    """The exact mixture on a batch, dense and fused, with its path through the odds."""
    model, teacher = tiny_causal(1).double().eval(), tiny_causal(2).double().eval()
    batch, targets = inputs_of(model)
    with torch.no_grad():
        p = align(teacher, batch, targets).scores
        p_hidden = align(teacher, batch, targets, output="hidden").scores
    found = []
    for form in ("dense", "fused"):
        scores = align(model, batch, targets)
        options = {"mixture": "prefix", "half": "teacher"}
        options["prefix_log_odds"] = prefix_log_odds(p, scores.scores, scores.ids, mask=scores.mask)
        if form == "dense":
            loss = sequence_loss("js", p, scores.scores, scores.mask, **options)
        else:
            hidden = align(model, batch, targets, output="hidden").scores
            loss = fused_loss("js", hidden, head_of(model), p_hidden, head_of(teacher), targets.mask, **options)
        loss.backward()
        found.append((loss.detach(), [weight.grad.clone() for weight in model.parameters()]))
        model.zero_grad()
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for transformers' old name
@pytest.mark.parametrize("kind", ["lora", "saved"])
def test_adapted_heads(kind: str) -> None:
    """LoRA on the head, and a head trained beside adapters."""
    peft = pytest.importorskip("peft")
    config = (
        peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
        if kind == "lora"
        else peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], init_lora_weights=False)
    )
    model = peft.get_peft_model(family("Llama"), config).eval()
    batch, targets = inputs_of(model)
    if kind == "saved":
        with torch.no_grad():
            head_of(model).weight.add_(0.1 * torch.randn(20, 16, generator=torch.Generator().manual_seed(1)))
    require_head(model, batch, targets, tolerance=1e-5)
    hidden = align(model, batch, targets, output="hidden").scores
    fused_loss("kl", hidden, head_of(model), torch.zeros(2, 3, 20), Head(torch.eye(20)), targets.mask).backward()
    trained = [weight for name, weight in model.named_parameters() if weight.requires_grad and "lm_head" in name]
    assert trained
    assert any(float(weight.grad.abs().sum()) > 0 for weight in trained)
    if kind == "lora":
        with model.disable_adapter():
            require_head(model, batch, targets, tolerance=1e-5)


def test_unknown_heads_are_found_out() -> None:
    class Odd(nn.Module):
        """A Llama that multiplies its logits by three, which its configuration does not say."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = family("Llama")
            self.config, self.base_model = self.inner.config, self.inner.base_model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:
            found = self.inner(input_ids=input_ids, attention_mask=attention_mask)
            found.logits = found.logits * 3
            return found

        def get_output_embeddings(self) -> nn.Module:
            return self.inner.get_output_embeddings()

    model = Odd()
    with pytest.raises(
        ArgumentError, match=r"model: expected the log-probabilities that its head gives, .*Odd does more"
    ):
        require_head(model, *inputs_of(model))


def test_messages() -> None:
    case = Case(0)
    arguments = ["kl", case.hidden, case.student_head, case.teacher, case.teacher_head, case.mask]

    def refuse(message: str, place: int, value: object, **options: object) -> None:
        with pytest.raises(ArgumentError, match=message):
            fused_loss(*[*arguments[:place], value, *arguments[place + 1 :]], **options)

    refuse(r"kind: expected one of", 0, "k")
    refuse(r"student_hidden: expected floating hidden states of shape \(B, T, H\)", 1, case.hidden[0])
    refuse(r"student_head: expected a floating weight of shape \(V, 6\), as wide .* \(11, 3\)", 2, case.teacher_head)
    refuse(r"student_head: expected a bias of shape \(11,\), .* got \(10,\)", 2, (case.weight, torch.zeros(10)))
    refuse(r"teacher_head: expected the student's vocabulary of 11, got 10\. Where", 4, (torch.zeros(10, 3), None))
    refuse(r"mask: expected bool of shape \(4, 5\)", 5, case.mask[:2])
    refuse(r"rows: expected a number of positions, at least 1, got 0", 0, "kl", rows=0)
    spoiled = case.hidden.detach().clone()
    row, place = case.mask.nonzero()[0].tolist()
    spoiled[row, place] = math.nan
    refuse(rf"logits\[{row}, {place}\]: expected numbers, got NaN", 1, spoiled)

    class Quantised(nn.Module):
        config = None

        def get_output_embeddings(self) -> nn.Module:
            layer = nn.Module()
            layer.weight = torch.zeros(2, 2).to(dtype)
            return layer

    for dtype in (torch.uint8, torch.float8_e4m3fn):
        with pytest.raises(
            ArgumentError,
            match=rf"model: expected a head with a floating weight .* got Module of {dtype}\. Use output=",
        ):
            head_of(Quantised())
