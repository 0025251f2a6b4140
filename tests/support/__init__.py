"""What tests share: models, cases, stored runs, a browser."""
