"""What PyTorch gives: goldens and the results on labelled pictures."""
