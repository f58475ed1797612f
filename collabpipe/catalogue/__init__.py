"""What a study may name: the sources of data sets, and the stages of networks."""
