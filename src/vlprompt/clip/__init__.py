"""CLIP: towers, weights in every common layout, tokens, pixels; and the plain forward pass that defines what is right."""
