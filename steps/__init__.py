"""The domain: the network that is described, its keys and certificates, and the sections of the procedure.

`steps.procedure` lists the sections in order.
"""
