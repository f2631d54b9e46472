"""Libraries shared by Hawk's services."""
