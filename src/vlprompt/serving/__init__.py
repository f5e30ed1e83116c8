"""A run behind HTTP: `vlprompt serve RUN`, built on LitServe.

    client -> HTTP process: reads the body, decodes and crops the picture     requests.py
           -> queue -> worker process: loads the run, predicts in batches      batching.py, api.py

options.py says what can be chosen, server.py starts and stops it all.
"""
