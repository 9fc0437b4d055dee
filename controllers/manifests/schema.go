// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/config/crd"
)

// kindSchema checks objects of one kind as the API server does.
type kindSchema struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// schemas are the checks by kind.
type schemas map[string]*kindSchema

// loadSchemas builds the checks from the generated CustomResourceDefinitions.
func loadSchemas() (schemas, error) {
	files, err := fs.Glob(crd.Bases, "bases/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("manifests: definitions: %w", err)
	}
	out := schemas{}
	for _, file := range files {
		b, err := crd.Bases.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("manifests: definitions: %w", err)
		}
		var def apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(b, &def); err != nil {
			return nil, fmt.Errorf("manifests: %s: %w", file, err)
		}
		k, err := newKindSchema(&def)
		if err != nil {
			return nil, fmt.Errorf("manifests: %s: %w", file, err)
		}
		out[def.Spec.Names.Kind] = k
	}
	return out, nil
}

func newKindSchema(def *apiextensionsv1.CustomResourceDefinition) (*kindSchema, error) {
	var internal apiextensions.CustomResourceValidation
	err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(
		def.Spec.Versions[0].Schema, &internal, nil)
	if err != nil {
		return nil, err
	}
	k := &kindSchema{}
	if k.structural, err = schema.NewStructural(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if k.validator, _, err = validation.NewSchemaValidator(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	k.rules = cel.NewValidator(k.structural, true, celconfig.PerCallLimit)
	return k, nil
}

// check defaults obj in place and returns what the API server would refuse.
func (k *kindSchema) check(obj map[string]any) []string {
	var out []string
	unknown := pruning.PruneWithOptions(obj, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		out = append(out, fmt.Sprintf("%s: there is no such field", strings.TrimPrefix(path, ".")))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, k.structural)
	defaulting.Default(obj, k.structural)
	errs := validation.ValidateCustomResource(nil, obj, k.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, obj)...)
	found, _ := k.rules.Validate(context.Background(), nil, k.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	for _, e := range append(errs, found...) {
		out = append(out, e.Error())
	}
	return out
}
