"""Typed settings: one model a configuration file."""

from usfmae.settings.base import SettingsError, Strict, nearest
from usfmae.settings.load import Settings, load, schemas, settings_from

__all__ = ["Settings", "SettingsError", "Strict", "load", "nearest", "schemas", "settings_from"]
