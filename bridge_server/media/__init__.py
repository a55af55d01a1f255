"""Movies and image sequences in and out, planar and at full bit depth."""
