"""Lesson 10: helpers, several teachers, specialists."""
