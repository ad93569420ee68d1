"""An estimate with its interval, and the tests behind it: nothing here knows a model."""
