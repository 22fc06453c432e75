"""The trainer of DarkDeblurNet: from sharp photographs to a weights file.

`darkdeblur_trainer.training.fit` is the run, `darkdeblur_trainer.cli` its command line.
"""
