"""What happens to one run: its specification, plan, status, attempt and stages."""
