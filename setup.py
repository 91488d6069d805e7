"""Packages: the library, and the embedded sample (data/) as treeavg.sample inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["treeavg", "treeavg.*", "parsers", "parsers.*"]), "treeavg.sample"],
    package_dir={"treeavg.sample": "data"},
    package_data={
        "treeavg": ["py.typed"],
        "treeavg.report": ["assets/*"],
        "treeavg.sample": ["*.txt", "*.md", "SHA256SUMS", "teachers/*.txt"],
    },
)
