"""ChromaBridge in Blender's video sequencer: colorizes a strip into a strip above it.

The only package here that imports bpy. Works in Blender 3.4 and later, with a GUI and without.
"""
