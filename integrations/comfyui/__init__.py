"""VAREdit in ComfyUI: load a model, edit by instruction here, or by a varedit server.

New versions of ComfyUI ask for `comfy_entrypoint`; older ones, which have no `comfy_api`, for the two mappings.
"""

try:
    import comfy_api.latest  # noqa: F401  # present or not: which of the two registrations is known here
except ImportError:
    from .nodes_v1 import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
else:
    from .nodes_v3 import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
