"""What an effect is, described once: its clips, typed parameters and contexts."""
