"""The picture pipeline: plate to luma, chroma to full size, luma joined untouched."""
