"""How the packaged weights were made: fetch, synthesize, train, export, plot, evaluate."""
