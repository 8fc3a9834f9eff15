"""The tables of runs: one file each, written as config, result, text and plot."""
