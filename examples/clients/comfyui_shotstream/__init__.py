"""Nodes for ComfyUI that let a shotstream server make pictures: copy this folder into custom_nodes.

IMAGE is ComfyUI's: float32 in 0..1, [B, H, W, C], one B a frame, C = 3.
"""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
