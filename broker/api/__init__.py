"""HTTP: one file per noun, thin; what happens is in the use cases."""
