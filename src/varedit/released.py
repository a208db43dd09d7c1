"""The names that released checkpoints use, and ours: one table, read in both directions (spec "Checkpoints").

Text-to-image checkpoints of Infinity bear the same names as the editors made from them. Whether a name belongs to a
model of a given size is not known here: `varedit.conversion` compares with the model itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Entries without a learned value: constant zeros, constant powers of two, masks and lengths of older files.
IGNORED = re.compile(
    r"(.*\.)?zero_k_bias$|(quantizer|quantize)\.lfq\.mask$|lvl_1L$|attn_bias_for_masking$"
    r"|Infinity_visible_kvlen$|Infinity_invisible_qlen$"
)
KEY_BIAS = re.compile(r"(.*\.)?zero_k_bias$")  # our attention has none, so it must really be zero

# Modules and free parameters, released -> ours; what follows in a name (weight, bias, an index) stays as it is.
_TRANSFORMER = {
    "cfg_uncond": "null_text",
    "pos_start": "start_position",
    "text_norm": "text_norm",
    "text_proj_for_sos.ca.mat_q": "text_pool.query",
    "text_proj_for_sos.ca.v_bias": "text_pool.value_bias",
    "text_proj_for_sos.ca.mat_kv": "text_pool.key_value",
    "text_proj_for_sos.ca.proj": "text_pool.project",
    "text_proj_for_ca": "text_project",
    "lvl_embed": "level_embed",
    "word_embed": "token_embed",
    "shared_ada_lin.1": "modulation",
    "head_nm.ada_lin.1": "head_modulation",
    "head": "head",
}
_BLOCK = {
    "ada_gss": "modulation_offset",
    "sa.scale_mul_1H11": "attention.log_scale",
    "sa.q_bias": "attention.query_bias",
    "sa.v_bias": "attention.value_bias",
    "sa.mat_qkv": "attention.query_key_value",
    "sa.proj": "attention.project",
    "ca.v_bias": "cross_attention.value_bias",
    "ca.mat_q": "cross_attention.query",
    "ca.mat_kv": "cross_attention.key_value",
    "ca.proj": "cross_attention.project",
    "ca_norm": "cross_norm",
    "ffn.fc1": "feed_forward.widen",
    "ffn.fc2": "feed_forward.narrow",
}

# Parts of autoencoder names, released and ours; {} is a number. Level 0 is the finest in both halves, as in ours.
_AUTOENCODER = [
    ("encoder.down.{}.block.{}.", "encoder.levels.{}.blocks.{}."),
    ("encoder.down.{}.downsample.", "encoder.levels.{}.resample."),
    ("encoder.mid.block_1.", "encoder.middle.0."),
    ("encoder.mid.block_2.", "encoder.middle.1."),
    ("decoder.up.{}.block.{}.", "decoder.levels.{}.blocks.{}."),
    ("decoder.up.{}.upsample.", "decoder.levels.{}.resample."),
    ("decoder.mid.block_1.", "decoder.middle.0."),
    ("decoder.mid.block_2.", "decoder.middle.1."),
    (".nin_shortcut.", ".shortcut."),
]


def transformer_name(released: str, blocks_per_chunk: int) -> str:
    """Our name for a transformer weight. Raises KeyError for a name that is in no table."""
    chunked = re.fullmatch(r"block_chunks\.(\d+)\.module\.(\d+)\.(.+)", released)
    if chunked:
        index = int(chunked[1]) * blocks_per_chunk + int(chunked[2])
        return f"blocks.{index}.{_looked_up(chunked[3], _BLOCK)}"
    single = re.fullmatch(r"blocks\.(\d+)\.(.+)", released)  # files of one chunk
    if single:
        return f"blocks.{int(single[1])}.{_looked_up(single[2], _BLOCK)}"
    return _looked_up(released, _TRANSFORMER)


def released_transformer_name(name: str, blocks_per_chunk: int) -> str:
    """The released name for one of our transformer weights; the inverse of `transformer_name`."""
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if block:
        chunk, index = divmod(int(block[1]), blocks_per_chunk)
        return f"block_chunks.{chunk}.module.{index}.{_looked_up(block[2], _inverse(_BLOCK))}"
    return _looked_up(name, _inverse(_TRANSFORMER))


def blocks_per_chunk(released: Iterable[str]) -> int:
    """How many blocks one chunk holds, from the names of a whole checkpoint; 1 where no name has a chunk."""
    found = (re.match(r"block_chunks\.\d+\.module\.(\d+)\.", name) for name in released)
    return max((int(match[1]) + 1 for match in found if match), default=1)


def autoencoder_name(released: str) -> str:
    """Our name for an autoencoder weight; older files leave out the inner ``.conv`` or ``.norm`` part."""
    name = _rewritten(released, _AUTOENCODER)
    return re.sub(r"(?<!\.resample)\.(conv|norm)\.(weight|bias)$", r".\2", name)


def released_autoencoder_name(name: str) -> str:
    """The released name for one of our autoencoder weights; the inverse of `autoencoder_name`."""
    module, leaf = name.rsplit(".", 1)
    inner = "norm" if module.rsplit(".", 1)[-1].startswith("norm") else "conv"
    return _rewritten(f"{module}.{inner}.{leaf}", [(ours, theirs) for theirs, ours in _AUTOENCODER])


def _looked_up(name: str, table: Mapping[str, str]) -> str:
    """Replace the longest beginning of a dotted name that the table knows."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        head = ".".join(parts[:end])
        if head in table:
            return ".".join([table[head], *parts[end:]])
    raise KeyError(name)


def _rewritten(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Replace every part of a name that a pair knows; numbers stand where they stood."""
    for old, new in pairs:
        found = re.search(re.escape(old).replace(r"\{\}", r"(\d+)"), name)
        if found:
            name = name[: found.start()] + new.format(*found.groups()) + name[found.end() :]
    return name


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: released for released, ours in table.items()}
