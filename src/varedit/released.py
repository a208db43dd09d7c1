"""The names that released checkpoints use, and ours: one table in each direction (spec "Checkpoints").

A released name is rewritten part by part; every rule is reversible, so the map is one to one.
"""

from __future__ import annotations

import re

# Buffers of the released files that hold no learned value: constant zeros, constant powers of two, old masks.
IGNORED = re.compile(
    r"(.*\.)?zero_k_bias$|quantizer\.lfq\.mask$|quantize\.lfq\.mask$|lvl_1L$|attn_bias_for_masking$"
    r"|Infinity_visible_kvlen$|Infinity_invisible_qlen$"
)

_AUTOENCODER_RULES = [
    (r"^encoder\.down\.(\d+)\.downsample\.conv\.", r"encoder.levels.\1.resample."),
    (r"^decoder\.up\.(\d+)\.upsample\.conv\.", r"decoder.levels.\1.resample."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.levels.\1.blocks."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.levels.\1.blocks."),
    (r"\.mid\.block_1\.", ".middle.0."),
    (r"\.mid\.block_2\.", ".middle.1."),
    (r"\.nin_shortcut\.", ".shortcut."),
]


def autoencoder_name(released: str) -> str:
    """Our name for an autoencoder weight; names without the inner ``.conv``/``.norm`` part are accepted too."""
    name = released
    for pattern, ours in _AUTOENCODER_RULES:
        name = re.sub(pattern, ours, name)
    if ".resample." in name:
        leaf = name.rsplit(".", 1)[1]
        return f"{name.split('.resample.')[0]}.resample.conv.{leaf}"
    return re.sub(r"\.(conv|norm)\.(weight|bias)$", r".\2", name)


_TRANSFORMER_RULES = {
    "cfg_uncond": "null_text",
    "pos_start": "start_position",
    "text_norm.weight": "text_norm.weight",
    "text_proj_for_sos.ca.mat_q": "text_pool.query",
    "text_proj_for_sos.ca.v_bias": "text_pool.value_bias",
    "text_proj_for_sos.ca.mat_kv.weight": "text_pool.key_value.weight",
    "text_proj_for_sos.ca.proj": "text_pool.project",
    "text_proj_for_ca": "text_project",
    "lvl_embed.weight": "level_embed.weight",
    "word_embed": "token_embed",
    "shared_ada_lin.1": "modulation",
    "head_nm.ada_lin.1": "head_modulation",
    "head": "head",
}

_BLOCK_RULES = {
    "ada_gss": "modulation_offset",
    "sa.scale_mul_1H11": "attention.log_scale",
    "sa.q_bias": "attention.query_bias",
    "sa.v_bias": "attention.value_bias",
    "sa.mat_qkv.weight": "attention.query_key_value.weight",
    "sa.proj": "attention.project",
    "ca.v_bias": "cross_attention.value_bias",
    "ca.mat_q": "cross_attention.query",
    "ca.mat_kv.weight": "cross_attention.key_value.weight",
    "ca.proj": "cross_attention.project",
    "ca_norm": "cross_norm",
    "ffn.fc1": "feed_forward.0",
    "ffn.fc2": "feed_forward.2",
}


def transformer_name(released: str, blocks_per_chunk: int) -> str:
    """Our name for a transformer weight. Raises KeyError for a name that is in no table."""
    chunked = re.match(r"block_chunks\.(\d+)\.module\.(\d+)\.(.+)$", released)
    plain = re.match(r"blocks\.(\d+)\.(.+)$", released)
    if chunked:
        index = int(chunked[1]) * blocks_per_chunk + int(chunked[2])
        return f"blocks.{index}.{_lookup(chunked[3], _BLOCK_RULES)}"
    if plain:
        return f"blocks.{plain[1]}.{_lookup(plain[2], _BLOCK_RULES)}"
    return _lookup(released, _TRANSFORMER_RULES)


def _lookup(name: str, rules: dict[str, str]) -> str:
    if name in rules:
        return rules[name]
    for cut in (1, 2):  # the rules name modules; what follows is weight or bias, or an index and weight or bias
        head, tail = name.rsplit(".", cut)[0], name.split(".")[-cut:]
        if head in rules:
            return ".".join([rules[head], *tail])
    raise KeyError(name)
