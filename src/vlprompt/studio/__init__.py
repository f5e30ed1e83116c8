"""The studio: a page in the browser on which classes are taught, tried and taken away. Needs Gradio."""
