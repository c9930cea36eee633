"""kdcourse: the machine of the course. It knows kdlib, and no lesson by name.

Figures, explorers and checks for the pages; pages made from lessons' folders; notebooks without a
browser; the command line. Each folder of `kdcourse.lessons` is one lesson, whole.
"""
