"""Distillation: losses over trees and sequences as pure functions of tensors. Needs the extra ``torch``."""
