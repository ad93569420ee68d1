"""A concept vector: its fields, its file, the library, the algebra of adding several."""
