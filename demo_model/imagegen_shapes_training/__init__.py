"""How the model that ships inside was trained: data, four small trainings, evaluation, packing.

Not part of the wheel. ``make demo-model`` runs it; docs/demo-model.md tells the story.
"""
