"""What `sam local` is told of the template."""

from __future__ import annotations

from infra.local.sam_local import unaliased


def test_a_function_is_named_by_itself_where_the_template_names_its_alias() -> None:
    auth = {"Authorizers": {"Callers": {"FunctionArn": {"Ref": "AuthorizerFunction.Alias"}, "Ttl": {"Ref": "Seconds"}}}}

    assert unaliased(auth) == {
        "Authorizers": {
            "Callers": {"FunctionArn": {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}, "Ttl": {"Ref": "Seconds"}}
        }
    }
