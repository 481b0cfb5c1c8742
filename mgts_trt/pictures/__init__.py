"""Reading, cropping and drawing pictures."""
