"""Teachers and students whose vocabularies differ."""
