"""A prompt as a few trained vectors before the input of a frozen model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, causal_logits, frozen, position_ids
from treeavg.distill.sequences.applications.prompts import KL, Divergence, joined, require_rows, teacher_scores
from treeavg.errors import ArgumentError, quote

__all__ = ["SoftPrompt", "soft_prompt_logits", "soft_prompt_loss"]


class SoftPrompt(nn.Module):
    """Vectors that stand before the input in place of a prompt; the only weights that are trained.

    Parameters
    ----------
    vectors : Tensor, floating, shape (n, H)
        Where they start; copied. The embeddings of some tokens do better than noise: see `from_tokens`.

    Raises
    ------
    ArgumentError
        Another shape, or no vectors.

    References
    ----------
    [Wingate et al. 2022 (Prompt compression and contrastive conditioning), section 3].

    Examples
    --------
    >>> SoftPrompt(torch.zeros(4, 8)).vectors.shape
    torch.Size([4, 8])
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        if not vectors.is_floating_point():
            raise ArgumentError(
                f"vectors: expected floating numbers, got {vectors.dtype}. Use SoftPrompt.from_tokens(model, ids)."
            )
        if vectors.dim() != 2 or len(vectors) < 1:
            raise ArgumentError(
                f"vectors: expected shape (n, H), n at least 1, got {tuple(vectors.shape)}. "
                "Use SoftPrompt.from_tokens(model, ids)."
            )
        self.vectors = nn.Parameter(vectors.detach().clone())

    @classmethod
    def from_tokens(cls, model: nn.Module, ids: Tensor) -> SoftPrompt:
        """Start from the embeddings of tokens, such as some of the prompt's.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            Whose embeddings.
        ids : Tensor, int64, shape (n,)
            Tokens.

        Returns
        -------
        SoftPrompt

        Raises
        ------
        ArgumentError
            Tokens that the model does not have.

        Examples
        --------
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
        >>> SoftPrompt.from_tokens(GPT2LMHeadModel(config), torch.tensor([2, 3])).vectors.shape
        torch.Size([2, 8])
        """
        require_known("ids", ids, model)
        return cls(embeddings(model)(ids))


def soft_prompt_logits(model: nn.Module, soft: SoftPrompt, batch: Prompts, completions: Completions) -> Tensor:
    """Return the scores of completions after trained vectors and inputs.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal model, in the mode it is in.
    soft : SoftPrompt
        As wide as the model's embeddings.
    batch : Prompts
        The inputs, padded on the left; a row may be empty, as the vectors stand before it.
    completions : Completions
        What follows.

    Returns
    -------
    Tensor
        Shape (B, T, V).

    Raises
    ------
    ArgumentError
        An encoder-decoder model, another width, or as many inputs as there are not completions.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> written = completions(torch.tensor([[4, 0]]), [0])
    >>> inputs = prompts([[1]], pad=0, side="left")
    >>> soft_prompt_logits(GPT2LMHeadModel(config), SoftPrompt(torch.zeros(2, 8)), inputs, written).shape
    torch.Size([1, 2, 8])
    """
    require_causal(model)
    require_rows(len(batch.ids), completions)
    embed, count = embeddings(model), len(soft.vectors)
    before = _leading(batch, count)
    ids = torch.cat([before.ids, completions.ids.masked_fill(~completions.mask, 0)], 1)
    embedded = embed(ids)
    if embedded.shape[-1] != soft.vectors.shape[1]:
        raise ArgumentError(
            f"soft: expected vectors as wide as the model's embeddings, {embedded.shape[-1]}, got "
            f"{soft.vectors.shape[1]}. Start them from SoftPrompt.from_tokens(model, ids)."
        )
    # Rows are padded on the left, so that each row's vectors stand right before its own input.
    first = before.attention.argmax(1)
    places = torch.arange(ids.shape[1], device=ids.device) - first[:, None]
    vectors = soft.vectors.to(embedded.dtype)[places.clamp(0, count - 1)]
    embedded = torch.where(((places >= 0) & (places < count))[..., None], vectors, embedded)
    attention = torch.cat([before.attention, completions.mask.long()], 1)
    logits: Tensor = model(
        inputs_embeds=embedded, attention_mask=attention, position_ids=position_ids(attention), use_cache=False
    ).logits
    return causal_logits(logits, before.ids.shape[1], completions.ids.shape[1])


def soft_prompt_loss(
    model: nn.Module,
    soft: SoftPrompt,
    prompted: Prompts,
    plain: Prompts,
    completions: Completions,
    *,
    teacher: nn.Module | None = None,
    divergence: Divergence | None = None,
) -> Tensor:
    """Return the divergence of a model behind trained vectors from the same model behind the prompt.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal model; it runs in evaluation mode. Give only the vectors to the optimizer.
    soft : SoftPrompt
        What is trained.
    prompted : Prompts
        The prompt with the inputs; see `joined`.
    plain : Prompts
        The inputs alone, padded on the left.
    completions : Completions
        Drawn from the prompted model.
    teacher : torch.nn.Module, optional
        Default: `model`.
    divergence : callable, optional
        As for `prompt_removal_loss`. Default: KL(teacher || student), the mean over tokens.

    Returns
    -------
    Tensor
        What `divergence` returns.

    Raises
    ------
    ArgumentError
        As `soft_prompt_logits` and `align` do.

    References
    ----------
    [Wingate et al. 2022, equation 1].

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model, written = GPT2LMHeadModel(config), completions(torch.tensor([[4, 0]]), [0])
    >>> soft = SoftPrompt.from_tokens(model, torch.tensor([1, 5]))
    >>> whole, inputs = prompts([[1, 5, 3]], pad=0, side="left"), prompts([[3]], pad=0, side="left")
    >>> round(abs(soft_prompt_loss(model, soft, whole, inputs, written).item()), 6)
    0.0
    """
    scores = teacher_scores(model if teacher is None else teacher, prompted, completions)
    with_gradients = torch.is_grad_enabled()
    with frozen(model), torch.set_grad_enabled(with_gradients):
        student = soft_prompt_logits(model, soft, plain, completions)
    return (divergence or KL)(scores, student, completions.mask)


def _leading(batch: Prompts, count: int) -> Prompts:
    """Return inputs with `count` attended places before the tokens of each row, padded on the left."""
    ids = batch.ids.new_zeros(1, count)
    return joined(Prompts(ids, torch.ones_like(ids)), batch)


def embeddings(model: nn.Module) -> Any:
    """Return a Hugging Face model's layer of token embeddings."""
    inner: Any = model
    return inner.get_input_embeddings()


def require_known(name: str, ids: Tensor, model: nn.Module) -> None:
    """Raise an ArgumentError for tokens that a model does not have."""
    size = embeddings(model).weight.shape[0]
    if ids.dtype != torch.int64 or bool(((ids < 0) | (ids >= size)).any()):
        raise ArgumentError(
            f"{name}: expected int64 from 0 to {size - 1}, the model's tokens, got {ids.dtype} {quote(ids.tolist())}. "
            "Take them from the model's tokenizer."
        )


def require_causal(model: nn.Module) -> None:
    """Raise an ArgumentError for an encoder-decoder model."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise ArgumentError(
            f"model: expected a causal model, got the encoder-decoder {type(model).__name__}. "
            "Its encoder reads the prompt at once; use prompt_removal_loss."
        )
