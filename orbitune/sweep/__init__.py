"""Many scenarios at once: varied keys, planned or trained point by point, resumable, on processes or on Ray."""
