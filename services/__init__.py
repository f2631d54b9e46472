"""Hawk's services: one folder, one job; they meet in streams and files, never by import."""
