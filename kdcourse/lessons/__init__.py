"""The lessons: one folder each, with all that is this lesson's and nobody else's."""
