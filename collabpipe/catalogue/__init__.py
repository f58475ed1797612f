"""What a study may name: sources of data sets, kinds of noise, corruptions, and the stages of networks."""
