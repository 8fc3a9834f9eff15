"""HTTP served to strangers: connections that end, and room for the next. Needs uvicorn."""
