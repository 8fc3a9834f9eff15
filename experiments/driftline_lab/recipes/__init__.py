"""Recipes that build the shipped pairs."""
