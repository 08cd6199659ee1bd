"""What several chapters share: each study is used by at least two of them."""
