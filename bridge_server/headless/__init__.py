"""Colorizing clips and stills from the command line, through the server."""
